// The shell: bar, routes, keys, theme. A view is a module with show(ctx) -> {title, el, update?, keys?, leave?}.
import { h, fill } from './dom.js';
import * as route from './route.js';
import * as api from './api.js';
import { remember, remembered } from './memory.js';
import { problem, sheet, skeleton, empty } from './parts.js';
import * as home from './home.js';
import * as features from './features.js';
import * as feature from './feature.js';
import * as text from './text.js';
import * as contrast from './contrast.js';
import * as steer from './steer.js';
import * as runs from './runs.js';
import * as audit from './audit.js';

const VIEWS = { '': home, features, feature, text, contrast, steer, runs, audit };
const NAV = [['', 'Home', 'h'], ['features', 'Features', 'f'], ['text', 'Text', 't'], ['contrast', 'Contrast', 'c'], ['steer', 'Steer', 's'], ['runs', 'Runs', 'r'], ['audit', 'Audit', 'a']];

/* ---- theme ---- */

const THEMES = ['auto', 'light', 'dark'];
let theme = remembered('sonde-theme') || 'auto';
const themeButton = h('button.small', { type: 'button', onclick: () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % 3]) });
function setTheme(name) {
  theme = THEMES.includes(name) ? name : 'auto';
  remember('sonde-theme', theme);
  document.documentElement.dataset.theme = theme;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % 3];
  fill(themeButton, theme === 'auto' ? 'Auto' : theme === 'light' ? 'Light' : 'Dark');
  themeButton.setAttribute('aria-label', `Colours: ${theme}. Change to ${next}.`);
  window.dispatchEvent(new Event('sonde-theme'));
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => window.dispatchEvent(new Event('sonde-theme'))); // what is drawn takes its colours anew

/* ---- keys of one character, which who dictates may not want (WCAG 2.1.4) ---- */

let characters = remembered('sonde-keys') !== 'off';
function setCharacters(on) {
  characters = on;
  remember('sonde-keys', on ? 'on' : 'off');
}

/* ---- bar ---- */

const model = h('span.bar-model');
const links = NAV.map(([path, name]) => h('a', { href: route.link(path ? [path] : []), data: { path } }, name));
const bar = h('header.bar', h('a.brand', { href: '#/' }, 'sonde'), h('nav', { 'aria-label': 'Views' }, links), h('div.bar-end', model, themeButton,
  h('button.small', { type: 'button', 'aria-label': 'Keys', onclick: keysSheet }, '?')));
const main = h('main', { tabindex: '-1', id: 'main' });
document.body.append(h('a.skip', { href: '#main', onclick: (e) => { e.preventDefault(); main.focus(); } }, 'Skip to the content'), bar, main, h('div', { id: 'toasts', role: 'status', 'aria-live': 'polite' }));

function keysSheet() {
  const row = (key, what) => h('div', h('dt', key.split(' ').map((k) => h('kbd', k))), h('dd', what));
  sheet('Keys', h('dl.keys',
    row('/', 'search features'), row('j k', 'next and previous, in lists, among features and among the models of an audit'), row('Enter', 'open what is chosen'),
    row('g h', 'Home'), row('g f', 'Features'), row('g t', 'Text'), row('g c', 'Contrast'), row('g s', 'Steer'), row('g r', 'Runs'), row('g a', 'Audit'),
    row('Ctrl Enter', 'run, in Text, Contrast and Steer'), row('Esc', 'close, or leave a field'), row('?', 'this list')),
    h('label.check', h('input', { type: 'checkbox', checked: characters, onchange: (e) => setCharacters(e.target.checked) }), 'Keys of one character act (/ ? g j k)'));
}

/* ---- the key of the server ---- */

let asking;
api.onKeyNeeded(() => (asking ||= new Promise((resolve) => {
  const input = h('input', { type: 'password', autocomplete: 'off', 'aria-label': 'Key of the server' });
  const el = sheet('This server wants a key', h('form.stack', { method: 'dialog', onsubmit: (e) => { e.preventDefault(); resolve(input.value.trim()); asking = null; el.close(); } },
    h('p.soft', 'It was started with --api-key-file. The key stays in this tab.'), input, h('button.primary', { type: 'submit' }, 'Go on')));
  el.addEventListener('close', () => { resolve(null); asking = null; });
})));

/* ---- views ---- */

function nameModel(c) {
  fill(model, c.name || (c.stores[0] && c.stores[0].store.model) || '');
  model.title = c.name ? `${c.name}, sonde ${c.version}` : 'No model is loaded: features can be looked at, not run';
}

let shown = null;
let showing = 0;

function leave() {
  if (shown?.leave) shown.leave();
  shown = null;
}

async function open() {
  const at = route.read();
  const name = at.parts[0] || '';
  const turn = ++showing;
  for (const a of links) {
    const on = a.dataset.path === name || (name === 'feature' && a.dataset.path === 'features');
    if (on) {
      a.setAttribute('aria-current', 'page');
      const nav = a.parentElement.getBoundingClientRect(), at = a.getBoundingClientRect(); // narrow windows scroll the names of the views
      a.parentElement.scrollLeft += at.right > nav.right ? at.right - nav.right + 6 : Math.min(0, at.left - nav.left - 6);
    } else a.removeAttribute('aria-current');
  }
  if (shown && shown.name === name && shown.update && (await shown.update(at))) return;
  leave();
  const module = VIEWS[name];
  document.title = 'sonde';
  if (!module) {
    fill(main, h('div.view', empty('There is nothing at this address.', h('p', h('a', { href: '#/' }, 'Go to Home')))));
    return;
  }
  fill(main, h('div.view', { 'aria-busy': 'true' }, skeleton(6)));
  try {
    const config = await api.getConfig(!name); // the server may be another by now: Home asks
    nameModel(config);
    const view = await module.show({ ...at, config });
    if (turn !== showing) {
      if (view.leave) view.leave();
      return;
    }
    shown = { ...view, name };
    if (view.title) document.title = `${view.title} · sonde`;
    fill(main, view.el);
    if (view.shown) view.shown();
    if (!document.activeElement || document.activeElement === document.body) main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  } catch (e) {
    if (turn !== showing) return;
    fill(main, h('div.view', problem(e, open)));
    if (e.status === 503 || e.status === 0) again(turn);
  }
}

// A server that is being started, or is not there, is asked until it answers; then the view that was wanted is shown.
async function again(turn) {
  await new Promise((done) => setTimeout(done, 2000));
  if (turn !== showing) return;
  api.getConfig(true).then(() => { if (turn === showing) open(); }, (e) => { if (e.status === 503 || e.status === 0) again(turn); });
}

/* ---- keys ---- */

let prefix = 0;
document.addEventListener('keydown', (e) => {
  if (e.defaultPrevented) return;
  const field = e.target.closest?.('input, textarea, select, [contenteditable]');
  if (e.key === 'Escape' && field) return field.blur();
  if ((e.ctrlKey || e.metaKey) && e.key === 'Enter' && shown?.keys?.run) return e.preventDefault(), shown.keys.run();
  if (field || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
  if (!characters && e.key.length === 1) return;
  if (e.key === 'Enter' && e.target.closest?.('a, button, summary')) return; // it is what has the focus that is meant
  if (prefix && Date.now() - prefix < 1200) {
    prefix = 0;
    const to = NAV.find(([, , key]) => key === e.key);
    if (to) return e.preventDefault(), route.go(to[0] ? [to[0]] : []);
  }
  if (e.key === 'g') prefix = Date.now();
  else if (e.key === '?') keysSheet();
  else if (e.key === '/') {
    e.preventDefault();
    const search = main.querySelector('[data-search]');
    if (search) search.focus();
    else route.go(['features'], { focus: 1 });
  } else if (shown?.keys?.[e.key]) {
    e.preventDefault();
    shown.keys[e.key]();
  }
});

window.addEventListener('hashchange', open);
setTheme(theme);
open();
