/** What can go wrong, in the words of edgekit's Python runtime: what is wrong, where, and how to mend it. */

export class EdgekitError extends Error {
  constructor(what, { where = null, fix = null, faults = [] } = {}) {
    const told = faults.slice(0, 20).map((fault) => `\n  ${fault}`).join("");
    super(`${where ? `${where}: ` : ""}${what}${told}${fix ? `\n  ${fix}` : ""}`);
    Object.assign(this, { name: new.target.name, what, where, fix, faults });
  }
}

/** Wrong usage, or a file or a text that cannot be used. */
export class BadInput extends EdgekitError {}

/** A file is not what the manifest says, or the model gave something else than it must. */
export class CheckFailed extends EdgekitError {}

/** Sound, but not possible in this browser or this Node. */
export class NotPossibleHere extends EdgekitError {}
