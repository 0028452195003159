/** What keeps the page from working; the message is one sentence for the visitor. */
export class Failure extends Error {}

export const sentence = (error: unknown): string =>
  error instanceof Failure ? error.message : `The browser could not run the model (${String(error)}).`;
