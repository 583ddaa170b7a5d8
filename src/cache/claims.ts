/**
 * Who waits for which bytes of a file: that decides whether a request is still of use. A claim is made when a read or a write
 * begins to wait, shrinks as it goes on, and ends with it.
 */

/** `count` bytes from `pos` on that a call still waits for. */
export interface Claim {
  readonly pos: number;
  readonly count: number;
}

/** Is any of bytes [from, to) in it? */
export const claims = ({ pos, count }: Claim, from: number, to: number): boolean => pos < to && from < pos + count;

export class Claims {
  private readonly all = new Set<Claim>();

  add(claim: Claim): void {
    this.all.add(claim);
  }
  delete(claim: Claim): void {
    this.all.delete(claim);
  }

  /** Does anybody wait for any of bytes [from, to)? */
  on(from: number, to: number): boolean {
    for (const claim of this.all) if (claims(claim, from, to)) return true;
    return false;
  }
}
