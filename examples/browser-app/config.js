// Enter the id of your client.
export const clientId = ''
export const issuer = 'http://localhost:3000'
export const ordersUrl = 'http://localhost:8080'
