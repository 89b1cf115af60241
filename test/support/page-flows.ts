import { linkRoutes, login, register, type Flow } from './enumeration.ts'

// The requests to pages with which an attacker finds out whether an account exists (account enumeration).

/** A form of a page that does the same as a route of the API. */
interface PageForm {
  path: string
  what: string
  fieldsOf: (body: Record<string, string>) => Record<string, string>
}

const emailOnly = ({ email = '' }: Record<string, string>) => ({ email })
const pageForms: Record<string, PageForm> = {
  [login]: {
    path: '/sign-in',
    what: 'the page to sign in',
    fieldsOf: ({ email, username, password = '' }) => ({ identifier: email ?? username ?? '', password })
  },
  [register]: {
    path: '/sign-up',
    what: 'the page to sign up',
    fieldsOf: ({ email = '', password = '' }) => ({ email, password })
  },
  [linkRoutes['a password reset']]: {
    path: '/forgot', what: 'the page to reset a password', fieldsOf: emailOnly
  },
  [linkRoutes['a link to verify an address']]: {
    path: '/sign-up/link', what: 'the page that sends the link again', fieldsOf: emailOnly
  },
  [linkRoutes['a link to sign in']]: {
    path: '/sign-in/link', what: 'the button that mails a link', fieldsOf: emailOnly
  }
}

/** Returns the flows of the API for the forms of pages. Texts differ, because a page shows what was typed. */
export function pageFlows (flows: Flow[]): Flow[] {
  return flows.flatMap(({ path, statuses, questions, ...flow }) => {
    const form = pageForms[path]
    if (!form) return []
    return [{
      ...flow,
      what: `${flow.what}, on ${form.what}`,
      path: form.path,
      hasSameText: false,
      // A success leads to the next page.
      statuses: statuses.map(status => status < 300 ? 303 : status),
      questions: questions
        // Every way to sign in verifies hashes alike, and the page to sign up has no usernames.
        .filter(({ body, hasOtherHash }) => !hasOtherHash && (path !== register || !('username' in body())))
        .map(({ what, body }) => ({ what, body: () => new URLSearchParams(form.fieldsOf({ ...body() })) }))
    }]
  })
}

const linkPaths = [...Object.values(linkRoutes), '/forgot', '/sign-up/link', '/sign-in/link']
/** Whether a flow only requests a link. */
export const isLinkRequest = ({ path }: Flow): boolean => linkPaths.includes(path)
