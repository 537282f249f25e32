// An ordinary web server without pages, of TLS 1.3, on loopback.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { ensurePeers } from '../../../scripts/peers.mjs'
import { findProgram } from '../../../scripts/support.mjs'
import { freePort } from '../../lib/free-port.mjs'
import { listening } from '../../lib/listening.mjs'

/** How long it may take to listen. */
const LIMIT = 10_000

/** Starts nginx, which apt installs where it may. Resolves to its `port` and `stop()`. */
export async function startNginx({ certificate, certificateKey }) {
  if (!findProgram('nginx')) await ensurePeers({ programs: ['nginx'] })
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-nginx-'))
  const [port, file] = [await freePort(), path.join(folder, 'nginx.conf')]
  const kept = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  fs.writeFileSync(
    file,
    `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr crit; events {}
     http { access_log off; server_tokens off; ${kept.map((name) => `${name}_temp_path ${folder};`).join(' ')}
       server { listen 127.0.0.1:${port} ssl; ssl_protocols TLSv1.3; root ${folder}/none;
         ssl_certificate ${certificate}; ssl_certificate_key ${certificateKey}; } }`,
  )
  const child = spawn(findProgram('nginx'), ['-c', file, '-e', 'stderr'], { stdio: 'inherit' })
  const stop = () => {
    child.kill()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  await listening(port, LIMIT).catch((error) => {
    stop()
    throw error
  })
  return { port, stop }
}
