// The pages work without this script. It only makes them more convenient.

// The token of a mailed link is in the URL's fragment, which browsers send to no server. The script removes
// it from the address bar, and submits the form that shows what the link is for. Only the user uses the link.
const token = new URLSearchParams(window.location.hash.slice(1)).get('token')
if (token) {
  window.history.replaceState(null, '', window.location.pathname + window.location.search)
  document.documentElement.classList.add('linked')
}
// The user opened another link in this tab. Its page is loaded anew: a reload would submit the form again.
window.addEventListener('hashchange', () => {
  const { pathname, href, hash } = window.location
  window.location.replace(pathname + (href.includes('?') ? '' : '?') + hash)
})
// The user came back to a form that was submitted.
window.addEventListener('pageshow', () => setBusy(false))

document.addEventListener('DOMContentLoaded', () => {
  const known = token ?? document.querySelector('[type=hidden][name=token]')?.value
  if (known) {
    const hash = `token=${encodeURIComponent(known)}`
    for (const link of document.querySelectorAll('a.language')) {
      link.hash = hash
      link.addEventListener('click', leave)
    }
  }
  for (const button of document.querySelectorAll('.reveal button')) {
    button.hidden = false
    button.addEventListener('click', () => reveal(button))
  }
  for (const form of document.forms) form.addEventListener('submit', submit)
  document.querySelector('[role=alert]')?.focus()
  const opening = document.querySelector('[data-open]')
  if (token && opening) {
    opening.elements.token.value = token
    opening.requestSubmit()
  }
})

/** Shows the password of a field, or hides it again. */
function reveal (button) {
  const field = button.previousElementSibling
  const [label] = button.children
  const { other } = button.dataset
  button.dataset.other = label.textContent
  label.textContent = other
  field.type = field.type === 'password' ? 'text' : 'password'
  field.focus()
}

/** Submits a form once. A password is hidden first, so that browsers do not suggest it in other fields. */
function submit (event) {
  if (document.querySelector('[aria-busy]')) return event.preventDefault()
  for (const field of event.target.querySelectorAll('.reveal input')) field.type = 'password'
  setBusy(true)
  if (event.target.querySelector('[type=hidden][name=token]')) leave()
}

/** If the user comes back to a page that answered a form, the browser must not ask to submit it again. */
function leave () {
  window.history.replaceState(null, '', window.location.href)
}

function setBusy (isBusy) {
  for (const button of document.querySelectorAll('form .button')) button.toggleAttribute('aria-busy', isBusy)
}
