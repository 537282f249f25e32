// OpenSSH as it comes: chacha20-poly1305.
import { startOpenSsh } from '../lib/openssh-forward.mjs'

export const start = (context, target) => startOpenSsh(context, target)
