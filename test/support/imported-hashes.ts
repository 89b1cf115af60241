/** Hashes that other programs made, by what made them: the hash, and the password it is of. */
export const importedHashes: Record<string, [hash: string, password: string]> = {
  // crypt(3) of libxcrypt
  'bcrypt, $2a$': ['$2a$04$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATNu', 'Hello wörld!'],
  'bcrypt, $2b$': ['$2b$04$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATNu', 'Hello wörld!'],
  'bcrypt, $2y$': ['$2y$05$abcdefghijklmnopqrstuu/MyhU2GuaLdcd6yLe3NHchPnY1ug8R.', 'Hello wörld!'],
  'bcrypt, of 80 bytes': ['$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i', 'x'.repeat(80)],
  'SHA-256 crypt': ['$5$saltstring$CkW1LSDiuNRzyjaQQWFYsuOGTLco0NPs8qh.AXEo674', 'Hello wörld!'],
  'SHA-512 crypt, with rounds': [
    '$6$rounds=1500$sixteencharsalt.$Qmv91AHueceYkQNJNF.UNZNrvBipAM6YLXCUq0kFVk6/CRhs19tc6999T77lgbZXkcYPpnfOxVgp/RgdbtnK01',
    'Hello wörld!'
  ],
  // openssl passwd -6
  'SHA-512 crypt': [
    '$6$openssl$8GjA4h6bLq3unnPDn38epw36h5BcS5NgYSvbTcRxaW/wlZXxhKQoYKlmGOLZWSrLypvAXV6/rETeHnrArKb7W1',
    'Hello wörld!'
  ],
  // hashlib of Python
  scrypt: ['$scrypt$ln=10,r=8,p=2$c2FsdHNhbHQ$lqmgDlIAihMDzEiOvoS7Fzq8wgWbPHZ856A8fnh9yi0', 'Hello wörld!'],
  'scrypt, of 32 MiB': [
    '$scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ$ruiA+hPb//h+1C8+AHwj5VvotzLMlOOpprAAa7uW+AGFKHEeff8aU9DZWb++qQy70eXDgNPCWCJ6ekfwcIc6Cw',
    'Hello wörld!'
  ],
  'PBKDF2, of passlib with SHA-1': ['$pbkdf2$1200$.//.IHNhbHQ$6vi4DTt.6l.kpnMieKbAMATns6M', 'Hello wörld!'],
  'PBKDF2, of passlib with SHA-256': [
    '$pbkdf2-sha256$1200$.//.IHNhbHQ$tiex73SV6Qu7zZNwf8EW8m2ryaIkkmJF6VDag1K5nJo',
    'Hello wörld!'
  ],
  'PBKDF2, of passlib with SHA-512': [
    '$pbkdf2-sha512$1200$.//.IHNhbHQ$seGHoNfkC6GJvEvgnuwXRQvF7lr2.hEkxTFkNGBOSv6sc0Vu2LML56w0KMP/v7NcT/OdMFX3Ay.W0Fc.o4d3Iw',
    'Hello wörld!'
  ],
  'PBKDF2, of Kratos': [
    '$pbkdf2-sha256$i=1200,l=64$+//+IHNhbHQ$tiex73SV6Qu7zZNwf8EW8m2ryaIkkmJF6VDag1K5nJrSy6lJNtzr+4kgDQM/HymlZk/nsfLqXuSQULcLNpu80w',
    'Hello wörld!'
  ],
  'PBKDF2, of Django': [
    'pbkdf2_sha256$1200$seasalt$ZRGqL92V0VaghtWnTVKCl61+33e7DafUdsPP0iFaCn0=',
    'Hello wörld!'
  ],
  'PBKDF2, of Django with SHA-1': ['pbkdf2_sha1$1200$seasalt$zJ6eYtVhZIpoLLBYqs/LY1ba4Sg=', 'Hello wörld!'],
  'salted SHA-256, of LDAP': [
    '{SSHA256}LvsL+bC9wwkaznShUOEbwsadCQVF1PaMNLf0DBC6QSn7//4gc2FsdA==',
    'Hello wörld!'
  ],
  'salted SHA-512, of LDAP': [
    '{SSHA512}XrOhz5Z3Dqh+tUhg8fqRXn4iqndCu+kOeZbLlOCmcduPgoJ+kCHvy1souA86yXzY3YkfHPlEgHk8uuXSTvAG3/v//iBzYWx0',
    'Hello wörld!'
  ],
  'salted SHA-256, of Kratos': [
    '$sha256$pf=e1NBTFR9e1BBU1NXT1JEfQ==$+//+IHNhbHQ=$rPcUIpzPtTTu0HodhBTc1FI752YUxF8+zSVIHH4CFek=',
    'Hello wörld!'
  ],
  // The example of github.com/firebase/scrypt, and one of Ory Kratos' tests
  'scrypt of Firebase, as Supabase has it': [
    '$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==',
    'user1password'
  ],
  'scrypt of Firebase, in the letters of URLs': [
    '$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC-ixf3L2lw==$lSrfV15cpx95_sZS2W9c9Kp6i_LVgQNDNC_qzrCnh1SAyZvqmZqAjTdn3aoItz-VHjoZilo78198JAdRuid5lQ==',
    'user1password'
  ],
  'scrypt of Firebase, as Kratos has it': [
    '$firescrypt$ln=14,r=8,p=1$sPtDhWcd1MfdAw==$xbSou7FOl6mChCyzpCPIQ7tku7nsQMTFtyOZSXXd7tjBa4NtimOx7v42Gv2SfzPQu1oxM2/k4SsbOu73wlKe1A==$Bw==$YE0dO4bwD4JnJafh6lZZfkp1MtKzuKAXQcDCJNJNyeCHairWHKENOkbh3dzwaCdizzOspwr/FITUVlnOAwPKyw==',
    '8x4WjoDbSxJZdR'
  ],
  // The tests of the reference implementation of argon2
  argon2i: [
    '$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA',
    'password'
  ],
  'argon2i, of the first version': [
    '$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ',
    'password'
  ],
  argon2id: [
    '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    'password'
  ]
}

/** Hashes that would cost more than is given for a sign-in. */
export const excessiveHashes = [
  '$2b$15$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATNu',
  '$2b$31$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATNu',
  '$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$lqmgDlIAihMDzEiOvoS7Fzq8wgWbPHZ856A8fnh9yi0',
  '$scrypt$ln=14,r=8,p=999$c2FsdHNhbHQ$lqmgDlIAihMDzEiOvoS7Fzq8wgWbPHZ856A8fnh9yi0',
  '$pbkdf2-sha256$2000001$.//.IHNhbHQ$tiex73SV6Qu7zZNwf8EW8m2ryaIkkmJF6VDag1K5nJo',
  '$pbkdf2-sha256$i=1000001,l=64$+//+IHNhbHQ$tiex73SV6Qu7zZNwf8EW8m2ryaIkkmJF6VDag1K5nJrSy6lJNtzr+4kgDQM/HymlZk/nsfLqXuSQULcLNpu80w',
  '$6$rounds=999999999$salt$8GjA4h6bLq3unnPDn38epw36h5BcS5NgYSvbTcRxaW/wlZXxhKQoYKlmGOLZWSrLypvAXV6/rETeHnrArKb7W1',
  '$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
  '$argon2id$v=19$m=65536,t=100,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
  '$argon2id$v=19$m=65536,t=1,p=64$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4'
]

/** What looks like a hash and is none that is known, or one that many passwords fit. */
export const unknownHashes = [
  '', 'password', '5f4dcc3b5aa765d61d8327deb882cf99', '$1$salt$qJH7.N4xYta3aEG/dfqo/0',
  '{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9hzYWx0', '$2b$03$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATNu',
  '$2b$04$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATN', '$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$lqmgDl',
  '$scrypt$ln=0,r=8,p=1$c2FsdHNhbHQ$lqmgDlIAihMDzEiOvoS7Fzq8wgWbPHZ856A8fnh9yi0',
  '$pbkdf2-md5$1200$.//.IHNhbHQ$tiex73SV6Qu7zZNwf8EW8m2ryaIkkmJF6VDag1K5nJo',
  '$pbkdf2$0$.//.IHNhbHQ$6vi4DTt.6l.kpnMieKbAMATns6M',
  '{SSHA256}LvsL+bC9wwkaznShUOEbwsadCQVF1PaMNLf0DBC6QSk=',
  '$sha256$pf=e1NBTFR9$+//+IHNhbHQ=$rPcUIpzPtTTu0HodhBTc1FI752YUxF8+zSVIHH4CFek=',
  '$6$salt$8GjA4h6bLq3unnPDn38epw36h5BcS5NgYSvbTcRxaW',
  '$argon2id$v=19$m=4,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4'
]
