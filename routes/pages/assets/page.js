// The token is in the URL's fragment, which browsers send to no server. The script removes it from the
// address bar, and submits it only when the user presses a button.
const token = new URLSearchParams(window.location.hash.slice(1)).get('token')
if (token) {
  window.history.replaceState(null, '', window.location.pathname + window.location.search)
  document.documentElement.classList.add('linked')
}
// The user opened another link in this tab.
window.addEventListener('hashchange', () => window.location.reload())
document.addEventListener('DOMContentLoaded', () => prepareForms())

const find = selector => document.querySelector(selector)
const passwordNames = ['password', 'new_password']

/**
 * Makes the page's forms submit without leaving the page. `typedPasswords` are filled in again, by field
 * name.
 */
function prepareForms (typedPasswords = {}) {
  for (const form of document.querySelectorAll('form')) {
    const { token: tokenField } = form.elements
    if (token) tokenField.value = token
    for (const name of passwordNames) {
      const field = form.elements[name]
      if (field) field.value = typedPasswords[name] ?? ''
    }
    const reveal = form.querySelector('.reveal')
    if (reveal) {
      reveal.closest('label').hidden = false
      reveal.addEventListener('change', () => {
        form.elements.new_password.type = reveal.checked ? 'text' : 'password'
      })
    }
    form.addEventListener('submit', event => {
      event.preventDefault()
      submit(form)
    })
  }
}

async function submit (form) {
  const buttons = [...document.querySelectorAll('form button')]
  if (buttons.some(button => button.disabled)) return
  for (const button of buttons) button.disabled = true
  const page = await requestPage(form)
  for (const button of buttons) button.disabled = false
  if (page) showPage(page, Object.fromEntries(passwordNames.map(name => [name, form.elements[name]?.value])))
  else find('#outcome').replaceChildren(failureNote(form.dataset.unreachable))
  const focusTarget = find('[aria-invalid]') ?? find('#outcome')
  focusTarget.focus()
  const continueLink = find('a[data-onward]')
  if (continueLink) window.location.replace(continueLink.href)
}

/** Returns the page that answers the form; undefined if the service did not answer. */
async function requestPage (form) {
  try {
    const body = new URLSearchParams(new FormData(form))
    const response = await window.fetch(form.action, { method: 'POST', body })
    const page = new window.DOMParser().parseFromString(await response.text(), 'text/html')
    return page.querySelector('#outcome') ? page : undefined
  } catch {}
}

function failureNote (text) {
  const note = document.createElement('p')
  note.className = 'failed'
  note.textContent = text
  return note
}

function showPage (page, typedPasswords) {
  document.title = page.title
  for (const part of ['h1', '#outcome', '#step']) {
    find(part).replaceChildren(...page.querySelector(part).childNodes)
  }
  prepareForms(typedPasswords)
}
