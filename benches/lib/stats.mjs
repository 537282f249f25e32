/** The value below which `fraction` of the samples lie. */
export function percentile(samples, fraction) {
  const sorted = Float64Array.from(samples).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))]
}

export function median(samples) {
  const sorted = Float64Array.from(samples).sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The median over the rounds of one figure divided by another of the same round, which the machine's mood spares. */
export function medianRatio(dividends, divisors) {
  return median(dividends.map((dividend, round) => dividend / divisors[round]))
}

/** One cell of a table, from one number per round. */
export function summary(rounds) {
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds), rounds }
}
