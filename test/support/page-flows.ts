import { linkRoutes, login, register, type Flow } from './enumeration.ts'

// The requests that are sent to the pages to learn whether an account exists.

/** A form of a page, and the route of the API that takes the same. */
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
  [linkRoutes['a password reset']]: { path: '/forgot', what: 'the page to reset a password', fieldsOf: emailOnly },
  [linkRoutes['a link to verify an address']]: {
    path: '/sign-up/link', what: 'the page that sends the link again', fieldsOf: emailOnly
  },
  [linkRoutes['a link to sign in']]: {
    path: '/sign-in/link', what: 'the button that mails a link', fieldsOf: emailOnly
  }
}

/** Returns the same questions as they are asked on the pages. A page shows what was typed, so texts differ. */
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
        // All ways to sign in verify hashes alike, and the page to sign up has no usernames.
        .filter(({ body, hasOtherHash }) => !hasOtherHash && (path !== register || !('username' in body())))
        .map(({ what, body }) => ({ what, body: () => new URLSearchParams(form.fieldsOf({ ...body() })) }))
    }]
  })
}

const linkPaths = [...Object.values(linkRoutes), '/forgot', '/sign-up/link', '/sign-in/link']
/** Whether a flow only requests a link. */
export const isLinkRequest = ({ path }: Flow): boolean => linkPaths.includes(path)
