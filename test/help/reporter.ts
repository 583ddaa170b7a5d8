/** The last line of a test run: `N passed, N failed, N skipped`. */
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/** `notes` are said before that line: what could not run on this machine, and why. */
export class CountReporter implements Reporter {
  private readonly notes: readonly string[];
  constructor(notes: readonly string[]) {
    this.notes = notes;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) count[test.result().state]++;
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length;
      count.failed += module.errors().length;
    }
    // A test that never ended is a failure: nothing is known of it.
    const failed = count.failed + count.pending;
    const lines = [...this.notes, `${count.passed} passed, ${failed} failed, ${count.skipped} skipped`];
    // After the summary of the default reporter, which prints in the same turn.
    setImmediate(() => process.stdout.write(`${lines.join('\n')}\n`));
  }
}
