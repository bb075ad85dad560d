// Which words of b are not in a, in order (longest common subsequence of words).
export function changed(a, b) {
  const x = a.split(/(\s+)/), y = b.split(/(\s+)/), n = x.length, m = y.length;
  if (n * m > 4e6) return y.map((text) => ({ text, isNew: false }));
  const t = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) t[i][j] = x[i] === y[j] ? t[i + 1][j + 1] + 1 : Math.max(t[i + 1][j], t[i][j + 1]);
  const out = [];
  let i = 0, j = 0;
  while (j < m) {
    if (i < n && x[i] === y[j]) { out.push({ text: y[j], isNew: false }); i++; j++; }
    else if (i < n && t[i + 1][j] >= t[i][j + 1]) i++;
    else { out.push({ text: y[j], isNew: /\S/.test(y[j]) }); j++; }
  }
  return out;
}
