// Numbers and tokens as people read them.

const WHOLE = new Intl.NumberFormat('en-US');

export const whole = (v) => (Number.isFinite(v) ? WHOLE.format(v) : '–');

// Three significant digits; 1e-5 and below as powers.
export function num(v) {
  if (v === null || v === undefined || !Number.isFinite(v)) return '–';
  if (v === 0) return '0';
  const a = Math.abs(v);
  if (a >= 1e6 || a < 1e-4) return v.toExponential(2).replace('e+', 'e').replace('-', '−').replace('e-', 'e−');
  if (a >= 999.5) return WHOLE.format(Math.round(v)).replace('-', '−');
  return v.toPrecision(3).replace('-', '−');
}

export const signed = (v) => (v > 0 ? '+' : '') + num(v);

export function percent(share, digits = 3) {
  if (share === null || share === undefined || !Number.isFinite(share)) return '–';
  const p = share * 100;
  if (p === 0) return '0 %';
  return `${p >= 99.95 ? p.toFixed(0) : p.toPrecision(p < 1 ? 2 : digits)} %`;
}

export function bytes(v) {
  const unit = ['B', 'KB', 'MB', 'GB'];
  let i = 0;
  for (; v >= 999.5 && i < 3; i++) v /= 1000;
  return `${i ? v.toPrecision(3) : v} ${unit[i]}`;
}

export const short = (hash) => (hash ? hash.slice(0, 8) : '');

export function day(text) {
  const d = text ? new Date(text) : null;
  return d && !isNaN(d) ? d.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' }) : '';
}

// What nobody would see, or what would turn the text after it round, by its number; line ends and tabs stay. A zero-width joiner is a part of what is seen.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
export const visible = (text) => text.replace(HIDDEN, (c) => `⟨${c.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}⟩`);

// A token on a chip: spaces and line ends made visible.
export const tokenName = (text) => (text === '' ? '∅' : visible(text).replace(/\n/g, '↵').replace(/\t/g, '⇥').replace(/ /g, '·'));

// What a feature is called; stores of before have names of nothing but spaces, which nobody would see.
export const called = (label, otherwise) => (!label ? otherwise : label.trim() ? visible(label) : tokenName(label));

// What the shell needs around an argument.
export const quote = (text) => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`);
