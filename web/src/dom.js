// Elements from plain data. Text from models and corpora goes through text nodes only: markup is never parsed.

const SVG = 'http://www.w3.org/2000/svg';

function put(el, attrs, children) {
  for (const [key, value] of Object.entries(attrs || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) el.addEventListener(key.slice(2), value);
    else if (key === 'vars') for (const [name, v] of Object.entries(value)) el.style.setProperty(name, v);
    else if (key === 'data') Object.assign(el.dataset, value);
    else if (key in el && (key === 'value' || key === 'checked' || key === 'disabled' || key === 'selected')) el[key] = value;
    else el.setAttribute(key, value === true ? '' : value);
  }
  add(el, children);
  return el;
}

export function add(el, ...children) {
  for (const c of children.flat(Infinity)) if (c !== undefined && c !== null && c !== false) el.append(c);
  return el;
}

// h('button.small', {onclick}, 'Run'): tag, classes, attributes, children.
export function h(spec, attrs, ...children) {
  if (attrs !== undefined && (attrs === null || typeof attrs !== 'object' || attrs instanceof Node || Array.isArray(attrs))) {
    children.unshift(attrs);
    attrs = {};
  }
  const [tag, ...classes] = spec.split('.');
  const el = document.createElement(tag || 'div');
  if (classes.length) el.className = classes.join(' ');
  return put(el, attrs, children);
}

export function s(tag, attrs, ...children) {
  return put(document.createElementNS(SVG, tag), attrs, children);
}

export function fill(el, ...children) {
  el.replaceChildren();
  return add(el, children);
}

export const debounce = (fn, ms) => {
  let timer;
  const run = (...a) => { clearTimeout(timer); timer = setTimeout(fn, ms, ...a); };
  run.cancel = () => clearTimeout(timer);
  return run;
};

let n = 0;
export const uid = (what) => `${what}-${++n}`;
