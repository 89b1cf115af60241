import * as auth from './auth.js'
import { ordersUrl } from './config.js'

const element = id => document.getElementById(id)

function show (user) {
  element('sign-in').hidden = user !== undefined
  element('signed-in').hidden = user === undefined
  element('status').textContent = user ? `Signed in as ${user.email}` : 'Signed out'
}

async function showOrders () {
  const response = await auth.fetchWithToken(`${ordersUrl}/orders`)
  const orders = await response.json()
  element('orders').replaceChildren(...orders.map(({ item }) => {
    const line = document.createElement('li')
    line.textContent = item
    return line
  }))
}

element('sign-in').addEventListener('click', auth.signIn)
element('sign-out').addEventListener('click', auth.signOut)
element('order').addEventListener('click', async () => {
  await auth.fetchWithToken(`${ordersUrl}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ item: 'a book' })
  })
  await showOrders()
})

try {
  const user = await auth.completeSignIn()
  show(user)
  if (user) await showOrders()
} catch (error) {
  show(undefined)
  element('status').textContent = `The sign-in did not succeed: ${error.message}`
}
