// The token stands in the fragment, which no request carries: it leaves the address bar, and is posted only by a click.
const token = new URLSearchParams(window.location.hash.slice(1)).get('token')
if (token) {
  window.history.replaceState(null, '', window.location.pathname + window.location.search)
  document.documentElement.classList.add('linked')
}
// Another link to the page where it is open already.
window.addEventListener('hashchange', () => window.location.reload())
document.addEventListener('DOMContentLoaded', () => prepare())

const find = selector => document.querySelector(selector)

/** Makes the forms of the page work without leaving it; `typed` are the passwords that were there before, by field. */
function prepare (typed = {}) {
  for (const form of document.querySelectorAll('form')) {
    const { token: field } = form.elements
    if (token) field.value = token
    for (const name of passwordNames) {
      const password = form.elements[name]
      if (password) password.value = typed[name] ?? ''
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
      send(form)
    })
  }
}

const passwordNames = ['password', 'new_password']

async function send (form) {
  const buttons = [...document.querySelectorAll('form button')]
  if (buttons.some(button => button.disabled)) return
  for (const button of buttons) button.disabled = true
  const page = await post(form)
  for (const button of buttons) button.disabled = false
  if (page) show(page, Object.fromEntries(passwordNames.map(name => [name, form.elements[name]?.value])))
  else find('#outcome').replaceChildren(note(form.dataset.unreachable))
  const target = find('[aria-invalid]') ?? find('#outcome')
  target.focus()
  const onward = find('a[data-onward]')
  if (onward) window.location.replace(onward.href)
}

/** The page that answers the form; undefined where nobody answers, or somebody else. */
async function post (form) {
  try {
    const response = await window.fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) })
    const page = new window.DOMParser().parseFromString(await response.text(), 'text/html')
    return page.querySelector('#outcome') ? page : undefined
  } catch {}
}

function note (text) {
  const note = document.createElement('p')
  note.className = 'failed'
  note.textContent = text
  return note
}

function show (page, typed) {
  document.title = page.title
  for (const part of ['h1', '#outcome', '#step']) find(part).replaceChildren(...page.querySelector(part).childNodes)
  prepare(typed)
}
