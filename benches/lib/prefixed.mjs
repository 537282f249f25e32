// A metric under another name: for peers of another kind, whose figures and bars must not mix with those of the first.

/** What `metric` exports, for peers of `kind`, each value with `prefix` before its name. */
export function prefixed(metric, { kind, prefix, title, about = metric.about }) {
  const rename = (values) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]))
  const client = async (kit) => rename(await metric.client(kit))
  return { ...metric, kind, title, about, units: rename(metric.units), client }
}
