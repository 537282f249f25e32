// The scripts, in the order in which they run.
export const ids = [
  ...['r1', 'r2', 'r3', 'r4', 'r6', 'r7', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14'],
  ...['r16', 'r21', 'r22', 'r23', 'r24', 'r25', 'r28', 'stealth'],
]

/*
 * A script exports
 *   title, runs (full, quick: what is done, in words), limit (full, quick: seconds it may take),
 *   script(kit): does it, and tells of figures by kit.figure(); see script.mjs and kit.mjs,
 *   ends: functions that run in processes of their own, see end.mjs.
 */
export const loadScript = (id) => import(`../figures/${id}.mjs`)
