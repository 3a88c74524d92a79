// replay holds an optimizer to a case of vectors, whose format wasm/guest/vectors_test.go describes. open takes a problem and options and
// returns an Optimizer or a RemoteOptimizer. It returns what was measured, and throws on the first difference.
export async function replay(open, { name, config, rounds, best }) {
  const { options, ...problem } = config;
  let start = performance.now();
  const optimizer = await open(problem, options);
  const opened = performance.now() - start;
  start = performance.now();
  let count = 0;
  for (const [i, round] of rounds.entries()) {
    const candidates = await optimizer.ask(round.ask);
    same(candidates, round.candidates, `${name}, round ${i + 1}`);
    count += candidates.length;
    if (candidates.length > 0) {
      const numbers = round.objectives.map((f) => f ?? NaN);
      await optimizer.tell(candidates, numbers.map((objective, j) => ({ objective, logProbs: round.aux[j] ?? [] })));
    }
  }
  const perCandidate = (performance.now() - start) / count;
  const { weights, objective, observed } = await optimizer.best();
  same([weights, [objective]], [best.weights, [best.objective]], `${name}, best`);
  if (!observed) {
    throw new Error(`${name}: the best was not observed`);
  }
  optimizer.close();
  return { opened, perCandidate };
}

// same tells 0 from -0.
function same(got, want, where) {
  const equal = got.length === want.length && got.every((c, i) => c.length === want[i].length && c.every((v, j) => Object.is(v, want[i][j])));
  if (!equal) {
    throw new Error(`${where}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
}
