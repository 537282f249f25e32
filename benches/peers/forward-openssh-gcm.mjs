// OpenSSH with the cipher that alknet takes.
import { startOpenSsh } from '../lib/openssh-forward.mjs'

export const start = (context, target) =>
  startOpenSsh(context, target, ['-c', 'aes128-gcm@openssh.com'])
