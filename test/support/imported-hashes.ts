/** Hashes of other programs, by the program that made them, with their passwords. */
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
  // PHP 8.2: '$wp' . password_hash(base64_encode(hash_hmac('sha384', trim($password), 'wp-sha384', true)))
  'bcrypt of WordPress': ['$wp$2y$04$PazUkriOVslvFZBuLu2.CustANFJNCF8r57dvDfHhCfuBW9B2EKYe', 'Hello wörld!'],
  // passlib 1.7.4: phpass
  'phpass of WordPress': ['$P$BOv63dsOEU/XtM4heQ3xlC6bKAnuaw.', 'Hello wörld!'],
  'phpass of phpBB': ['$H$6ej2dkPgcV4Sq95c7B1j9Gj71zFmNr/', 'Hello wörld!'],
  // Django 3.2: BCryptSHA256PasswordHasher, BCryptPasswordHasher, Argon2PasswordHasher
  'bcrypt of Django': [
    'bcrypt_sha256$$2b$04$i4pMvTLoAPSF44P5ZehWcefGCaTjSf9ZnEnanlRpDjz7W6GyRlsaW', 'Hello wörld!'
  ],
  'bcrypt of Django, without SHA-256': [
    'bcrypt$$2b$04$1ja4FsADGsvdikPqic5ZZuCe/JygAJb7VKWDpzukVjE2lu2WetK9C', 'Hello wörld!'
  ],
  'argon2id of Django': [
    'argon2$argon2id$v=19$m=256,t=2,p=1$c2Vhc2FsdHNlYXNhbHQ$2NDEt2GxnjL8qPe3G7POug', 'Hello wörld!'
  ],
  // hashlib.scrypt of Python with dklen=64, as ScryptPasswordHasher of Django 4.0 and generate_password_hash
  // of Werkzeug 2.3 call it
  'scrypt of Django': [
    'scrypt$1024$seasalt$8$5$do4+69VTcPP0tmqESBUJJ5rx2OU0W8Lp5DkAfym780YvjwRzm9/WA9WgHVuX8fiiK+y1kFo/2UKk1XuyXZnVmw==',
    'Hello wörld!'
  ],
  'scrypt of Werkzeug': [
    'scrypt:1024:8:1$82nZT4RMMSfKNhqS$6e8e24b3940b1eae9580022530a505eb082fa46bc3f7d024507a78279ca2e2cf291ceb337ce871d3f9dd7b2eee67811b9bb03f2a5ba8d7580cd4040498168445',
    'Hello wörld!'
  ],
  // Werkzeug 2.2.2: generate_password_hash
  'PBKDF2 of Werkzeug': [
    'pbkdf2:sha256:1200$82nZT4RMMSfKNhqS$8f8e0caa9c0e60a7dd31737d2f7b774829211e2504a887a1a16e788c37605cfb',
    'Hello wörld!'
  ],
  'PBKDF2 of Werkzeug with SHA-1': [
    'pbkdf2:sha1:1200$Fu03e6dSpxWO3W5B$d1873c9aee92350c5b0a252fa0c607fe2e86cf2b', 'Hello wörld!'
  ],
  // hashlib of Python, with the parameters and in the order of PasswordHasher of ASP.NET Core Identity
  'PBKDF2 of ASP.NET Core Identity 2': [
    'AAECAwQFBgcICQoLDA0ODxDzoq5EPLgIZFSCBflZ0zL7BPRQlCk8LzYVngnpPjrYng==', 'Hello wörld!'
  ],
  'PBKDF2 of ASP.NET Core Identity 3 with SHA-512': [
    'AQAAAAIAAASwAAAAEAECAwQFBgcICQoLDA0ODxBOStQPlmV+L/6IdxX6DoMxpySAdi8jFxxa2T1dhv34Dg==', 'Hello wörld!'
  ],
  'PBKDF2 of ASP.NET Core Identity 3 with SHA-256': [
    'AQAAAAEAAASwAAAAEAECAwQFBgcICQoLDA0ODxDN+hTkrmjCgqCjLr2WS8bUzcVyVARfQTUhlMsKmDWhwg==', 'Hello wörld!'
  ],
  // password_hash of PHP 8.2
  'bcrypt of Spring': [
    '{bcrypt}$2a$04$YNK0ac7vpFg0JqG9Ay7fRev.Eswl.8GNXJeU5QvrjvE70M3pJdCXe',
    'Hello wörld!'
  ],
  // argon2-cffi
  'argon2id of Spring': [
    '{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=256,t=2,p=1$ZoYM4rRv6FiUdJNcNne2Sw$9GhsqNtznWSC5gmvBAipgCQgWo+unccJeEALsBB0RrE',
    'Hello wörld!'
  ],
  // hashlib of Python, with the parameters of Spring Security's encoders
  'PBKDF2 of Spring': [
    '{pbkdf2@SpringSecurity_v5_8}0102030405060708090a0b0c0d0e0f10bb1b854b08c133f21bd6f1dccbdc8e5d7a773d91bf7673546d2ac6c2b5bb890d',
    'Hello wörld!'
  ],
  'PBKDF2 of Spring 5.7': [
    '{pbkdf2}01020304050607081fe94e5f2e43f6b2adbd5f5b3d7cec90da62b09d3f4c3baed2227653f19cb519',
    'Hello wörld!'
  ],
  'scrypt of Spring': [
    '{scrypt}$a0801$AQIDBAUGBwgJCgsMDQ4PEA==$LBz8D9UV6gRU5vhLXuCGQEx4+t04JZ4QdxDzDXCJlYA=', 'Hello wörld!'
  ],
  // hashPassword of better-auth 1.7.25
  'scrypt of better-auth': [
    'c2f78b24b571df18b99c79001195b19d:de584bc4a18ffd575b612c70b8124cc232fe3abfd987b6783c315651e912bb1bc4f0af10c7ad93e5e60b2d384b4d7604e7b12b406825a5ad31f127c4b15ab767',
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

/** Hashes that would cost more than a sign-in may cost. */
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
  '$argon2id$v=19$m=65536,t=1,p=64$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
  '$wp$2y$13$PazUkriOVslvFZBuLu2.CustANFJNCF8r57dvDfHhCfuBW9B2EKYe',
  'bcrypt_sha256$$2b$20$i4pMvTLoAPSF44P5ZehWcefGCaTjSf9ZnEnanlRpDjz7W6GyRlsaW',
  '$P$FOv63dsOEU/XtM4heQ3xlC6bKAnuaw.',
  '$P$SOv63dsOEU/XtM4heQ3xlC6bKAnuaw.',
  'argon2$argon2id$v=19$m=4194304,t=1,p=1$c2Vhc2FsdHNlYXNhbHQ$2NDEt2GxnjL8qPe3G7POug',
  'scrypt$1073741824$seasalt$8$1$do4+69VTcPP0tmqESBUJJ5rx2OU0W8Lp5DkAfym780Y=',
  'scrypt:16384:8:999$82nZT4RMMSfKNhqS$6e8e24b3940b1eae9580022530a505eb082fa46bc3f7d024507a78279ca2e2cf',
  '{scrypt}$1e0801$AQIDBAUGBwgJCgsMDQ4PEA==$LBz8D9UV6gRU5vhLXuCGQEx4+t04JZ4QdxDzDXCJlYA=',
  'pbkdf2:sha256:2000001$82nZT4RMMSfKNhqS$8f8e0caa9c0e60a7dd31737d2f7b774829211e2504a887a1a16e788c37605cfb',
  'AQAAAAL/////AAAAEAECAwQFBgcICQoLDA0ODxBOStQPlmV+L/6IdxX6DoMxpySAdi8jFxxa2T1dhv34Dg=='
]

/** Texts that look like a hash but have an unknown format, or that many passwords match. */
export const unknownHashes = [
  'password', '5f4dcc3b5aa765d61d8327deb882cf99', '$1$salt$qJH7.N4xYta3aEG/dfqo/0',
  '{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9hzYWx0', '$2b$03$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATNu',
  '$2b$04$abcdefghijklmnopqrstuuGmcg0s8QbH9Zkp0WLF79wz4A8OjATN', '$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$lqmgDl',
  '$scrypt$ln=0,r=8,p=1$c2FsdHNhbHQ$lqmgDlIAihMDzEiOvoS7Fzq8wgWbPHZ856A8fnh9yi0',
  '$pbkdf2-md5$1200$.//.IHNhbHQ$tiex73SV6Qu7zZNwf8EW8m2ryaIkkmJF6VDag1K5nJo',
  '$pbkdf2$0$.//.IHNhbHQ$6vi4DTt.6l.kpnMieKbAMATns6M',
  '{SSHA256}LvsL+bC9wwkaznShUOEbwsadCQVF1PaMNLf0DBC6QSk=',
  '$sha256$pf=e1NBTFR9$+//+IHNhbHQ=$rPcUIpzPtTTu0HodhBTc1FI752YUxF8+zSVIHH4CFek=',
  '$6$salt$8GjA4h6bLq3unnPDn38epw36h5BcS5NgYSvbTcRxaW',
  '$argon2id$v=19$m=4,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
  '{noop}password', '{MD5}5f4dcc3b5aa765d61d8327deb882cf99', 'md5$seasalt$5f4dcc3b5aa765d61d8327deb882cf99',
  '$wp$P$BOv63dsOEU/XtM4heQ3xlC6bKAnuaw.',
  'salt$$2b$04$i4pMvTLoAPSF44P5ZehWcefGCaTjSf9ZnEnanlRpDjz7W6GyRlsaW',
  '$P$0Ov63dsOEU/XtM4heQ3xlC6bKAnuaw.', '$P$zOv63dsOEU/XtM4heQ3xlC6bKAnuaw.',
  'argon2$argon2id$v=19$m=256,t=2,p=1,keyid=abcd$c2Vhc2FsdHNlYXNhbHQ$2NDEt2GxnjL8qPe3G7POug',
  'scrypt$1000$seasalt$8$1$do4+69VTcPP0tmqESBUJJ5rx2OU0W8Lp5DkAfym780Y=',
  '{pbkdf2@SpringSecurity_v5_8}01020304050607081fe94e5f2e43f6b2adbd5f5b3d7cec90da62b09d3f4c3baed2227653f19cb519',
  // Identity with an unknown digest, with a salt longer than the hash, and with a short key
  'AQAAAAMAAASwAAAAEAECAwQFBgcICQoLDA0ODxBOStQPlmV+L/6IdxX6DoMxpySAdi8jFxxa2T1dhv34Dg==',
  'AQAAAAIAAASw////8AECAwQFBgcICQoLDA0ODxBOStQPlmV+L/6IdxX6DoMxpySAdi8jFxxa2T1dhv34Dg==',
  'AQAAAAIAAASwAAAAKAECAwQFBgcICQoLDA0ODxBOStQPlmV+L/6IdxX6DoMxpySAdi8jFxxa2T1dhv34Dg==',
  'c2f78b24b571df18b99c79001195b19d:de584bc4a18ffd575b612c70b8124cc2'
]
