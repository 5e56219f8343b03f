/**
 * What the runner makes of inputs, beside what Python's outputs were: windows, the answer that Python's outputs give here, how far the runner's own
 * outputs are from them, and whether its own answer is the same; of `talks`, [input, settings] of a language model, the answers, made a piece a token.
 * `base`: the URL of the folder that the runner lies in.
 */

export async function compare(base, place, options, jobs, talks = []) {
  const { EdgekitError, load } = await import(`${base}runner.mjs`);
  const { TASKS, said: named } = await import(`${base}tasks.mjs`);
  const model = await load(place, options);
  const facts = model.manifest.edgekit;
  const answer = TASKS[facts.task]?.answer;
  const found = [];
  for (const { item, outputs: given } of jobs) {
    try {
      const windows = model.windows(item);
      const own = await model.outputs(windows);
      const asked = { labels: facts.labels, threshold: facts.threshold ?? null, activation: facts.activation ?? "identity", topK: 3, item };
      const theirs = given?.map(({ data, dims }) => ({ data: answer ? Float32Array.from(data) : data, dims }));
      const [one, other] = given === null || !answer ? [null, null] : [answer(theirs, windows, asked), answer(own, windows, asked)];
      found.push({
        windows: windows.map(({ ids, types, words, starts, ends, truncated }) => ({ ids, types, words, starts, ends, truncated })),
        answer: one, difference: given === null ? null : apart(own, theirs), same: JSON.stringify(named(one ?? {})) === JSON.stringify(named(other ?? {})),
      });
    } catch (fault) {
      if (!(fault instanceof EdgekitError)) throw fault;
      found.push({ error: fault.name, what: fault.what });
    }
  }
  let verified;
  try {
    verified = await model.verify();
  } catch (fault) {
    verified = { ok: false, text: fault.message };
  }
  const said = [];
  for (const [item, settings] of talks) {
    const pieces = [];
    for await (const piece of model.stream(item, settings)) pieces.push(piece);
    said.push({ text: pieces.map(({ text }) => text).join(""), ended: pieces.at(-1).ended, new_tokens: pieces.length });
  }
  const begun = performance.now();
  const first = jobs.find(({ outputs }) => outputs !== null).item;
  for (let count = 0; count < 20; count++) await model.outputs(model.windows(first));
  const result = { found, verified, talks: said, notes: model.notes, milliseconds: (performance.now() - begun) / 20 };
  await model.close();
  return result;
}

/** Root mean square of the differences; infinite where sizes differ. */
function apart(own, theirs) {
  let sum = 0, count = 0;
  for (const [index, { data }] of own.entries()) {
    const other = theirs[index]?.data ?? [];
    if (other.length !== data.length) return null;
    for (let place = 0; place < data.length; place++) sum += (data[place] - other[place]) ** 2;
    count += data.length;
  }
  return Math.sqrt(sum / count);
}
