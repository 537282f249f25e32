import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { binary, home } from './support/forwarder.js'
import { lackOf, leftOut } from './support/lacking.js'

/** A user manager of systemd, which asks whether the machine was booted with one: $1 is a folder for it, $2 our program. */
const script = `
mount -t tmpfs none /run/systemd && mkdir -p /run/systemd/system || { echo none; exit; }
/lib/systemd/systemd --user >"$1"/systemd.log 2>&1 &
tries=0
until systemctl --user is-system-running >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { echo none; exit; }
  sleep 0.1
done
unit=alknet-forwarder-web
pid() { "$2" forward status web | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p'; }
"$2" forward start --name web --listen-port 0 --install >&2
echo "installed $(systemctl --user is-enabled $unit) $(systemctl --user is-active $unit)"
first=$(pid "$@")
echo "main $([ "$(systemctl --user show -p MainPID --value $unit)" = "$first" ] && echo same)"
kill -9 "$first"
until again=$(pid "$@"); [ -n "$again" ] && [ "$again" != "$first" ]; do sleep 0.05; done
echo "again"
"$2" forward stop web >/dev/null
until [ "$(systemctl --user is-active $unit)" = inactive ]; do sleep 0.05; done
echo "stopped $(systemctl --user show -p NRestarts --value $unit)"
systemctl --user start $unit
"$2" forward start --name web --uninstall >/dev/null
echo "uninstalled $("$2" forward status web --exit-code >/dev/null; echo $?) $(systemctl --user is-enabled $unit 2>/dev/null)"
systemctl --user exit
wait`

it('is installed for a real systemd, which brings it back, and stops for good when told', (context) => {
  const { env, root } = home()
  const runtime = path.join(root, 'runtime')
  mkdirSync(runtime, { mode: 0o700 })
  // As it is, but for the pause before it is started again.
  const more = path.join(root, '.config/systemd/user/alknet-forwarder-web.service.d')
  mkdirSync(more, { recursive: true })
  writeFileSync(path.join(more, 'soon.conf'), '[Service]\nRestartSec=100ms\n')
  const words = ['-m', 'timeout', '25', 'bash', '-c', script, 'bash', root, binary[0] as string]
  const done = spawnSync('unshare', words, {
    env: { ...env, HOME: root, XDG_RUNTIME_DIR: runtime, XDG_CONFIG_HOME: undefined },
    encoding: 'utf8',
  })
  const none = done.error || done.stdout === '' || done.stdout.startsWith('none')
  const lack = none ? lackOf('systemd-user', done) : undefined
  if (leftOut('forward start --install', lack)) context.skip()
  expect(done.stdout.split('\n'), done.stderr).toEqual([
    'installed enabled active',
    'main same',
    'again',
    'stopped 1',
    'uninstalled 3 ',
    '',
  ])
})
