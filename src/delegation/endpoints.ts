/** The user info endpoint. It is the audience of a client's token that is for no other resource. */
export const userInfoUrl = (issuer: string) => `${issuer}/oauth/userinfo`
