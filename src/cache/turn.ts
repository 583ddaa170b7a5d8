/** Node has it, browsers do not. */
declare const setImmediate: ((work: () => void) => unknown) | undefined;

/** Runs `work` when everything that can run now has run: in the next turn of the event loop. */
export function nextTurn(work: () => void): void {
  if (typeof setImmediate === 'function') {
    setImmediate(work);
    return;
  }
  // setTimeout would wait for milliseconds.
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    work();
  };
  port2.postMessage(null);
}
