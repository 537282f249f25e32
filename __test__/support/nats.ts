import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { scratch } from './keys.js'
import { freePort } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'

/** One server of a cluster of NATS. */
export interface NatsNode {
  url: string
  program: Program
}

/** A cluster of `count` nats-servers, each linked with all others; one alone is none. */
export async function natsCluster(
  count: number,
  options?: { jetStream: boolean },
): Promise<NatsNode[]> {
  const port = async () => ({ client: await freePort(), route: await freePort() })
  const ports = await Promise.all(Array.from({ length: count }, port))
  const routes = ports.map(({ route }) => `nats://127.0.0.1:${route}`)
  const store = options?.jetStream ? await mkdtemp(join(scratch(), 'nats-')) : undefined
  const nodes = ports.map(({ client, route }, number): NatsNode => {
    const others = routes.filter((_, other) => other !== number).join(',')
    const cluster = ['--cluster_name', 'test', '--cluster', `nats://127.0.0.1:${route}`]
    const kept = ['-js', '-sd', join(`${store}`, `${number}`)]
    const program = start(peerPath('nats-server'), [
      ...['-a', '127.0.0.1', '-p', `${client}`, '-n', `node${number}`],
      ...(count > 1 ? [...cluster, '--routes', others] : []),
      ...(store === undefined ? [] : kept),
    ])
    return { url: `nats://127.0.0.1:${client}`, program }
  })
  await Promise.all(nodes.map(({ program }) => program.complains(/Server is ready/)))
  if (count > 1) {
    await Promise.all(nodes.map(({ program }) => program.complains(/Route connection created/)))
  }
  return nodes
}
