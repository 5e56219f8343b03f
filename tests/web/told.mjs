/** What `work` gives, or which of the runner's errors, `EdgekitError`, it ends with; any other error is a fault of the runner. */
export const teller = (EdgekitError) => async (work) => {
  try {
    return await work();
  } catch (fault) {
    if (!(fault instanceof EdgekitError)) throw fault;
    return { error: fault.name, text: fault.message };
  }
};
