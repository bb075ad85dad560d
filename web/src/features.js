// Features: a list of any length beside its map, searched by words or by what a text switches on.
import { h, fill, debounce } from './dom.js';
import * as api from './api.js';
import * as command from './command.js';
import * as route from './route.js';
import { called, num, percent, tokenName, whole } from './format.js';
import { copies, empty, featureLink, field, load, problem, provenance, segmented, select } from './parts.js';
import { FeatureMap } from './map.js';
import { VirtualList } from './virtual.js';

const SORTS = [['interest', 'What to look at first'], ['density', 'Density'], ['max_act', 'Highest activation'], ['index', 'Number']];
const DECADES = [[-6, 'any'], [-5, '0.001 %'], [-4, '0.01 %'], [-3, '0.1 %'], [-2, '1 %'], [-1, '10 %'], [0, 'any']];
const NAMED = [['', 'any or none'], ['0', 'with a label'], ['0.6', 'score of 0.6 or more'], ['0.7', '0.7 or more'], ['0.8', '0.8 or more'], ['0.9', '0.9 or more']];
const SEARCHED = 200;

function chips(f) {
  return h('span.chips', f.top_logits.slice(0, 6).map((t) => h('code', tokenName(t.token))));
}

export async function show({ config, parts, query }) {
  const store = config.stores.find((s) => s.name === (parts[1] || config.stores[0].name));
  if (!store && config.stores.length) return { title: 'Features', el: h('div.view', empty(`There is no store “${parts[1]}” here.`, h('p', h('a', { href: '#/features' }, 'Go to Features')))) };
  if (!store) {
    return { title: 'Features', el: h('div.view', h('header.view-head', h('div.view-title', h('h1', 'Features'))), empty('No store of features is registered.', 'Build one of a dictionary and a text, then give it to the server with --store:',
      h('pre.command', `sonde feature build dict ${command.model(config)} TEXT/ -o features.db\nsonde serve ${command.model(config)} --dict dict --store features.db`))) };
  }
  const dict = config.dicts.find((d) => d.store === store.name);
  const canRun = Boolean(config.name && dict);
  const state = { q: '', mode: 'words', sort: 'interest', lo: '-6', hi: '0', named: '', silent: '', colour: 'cluster', view: 'list', sel: '', ...query };
  if (!canRun) state.mode = 'words';
  let shown = { features: [], n_total: 0 }, map = null, lit = null, region = null, abort = null, asked = 0, gone = false; // asked: a later click on the map wins

  /* list */
  const count = h('p.count', { 'aria-live': 'polite' }, '\u00a0');
  let figure = 'density';
  const list = new VirtualList({
    height: 60, label: `Features of ${store.name}`,
    columns: [['Feature', 'c-no'], ['Responds to · makes likelier', 'c-label'], ['Density', 'c-density'], ['Max', 'c-max']],
    row: (f) => [
      h('span.c-no', { role: 'gridcell' }, h('a.no', { href: featureLink(store.name, f.index), tabindex: '-1' }, String(f.index))),
      h('span.c-label', { role: 'gridcell' }, h('span.named', h('span', { class: f.label_source === 'words' ? 'label words' : 'label' }, called(f.label, 'never seen')), f.label_score === undefined ? null : h('small.soft', { title: 'score of the label on held-out examples' }, num(f.label_score))), chips(f)),
      h('span.c-density', { role: 'gridcell' }, f.on_text ? num(f.on_text) : percent(f.density), h('i', { class: f.on_text ? 'meter act' : 'meter', vars: { '--w': f.on_text ? f.on_text / (shown.most || 1) : Math.max(0, 1 + Math.log10(Math.max(f.density, 1e-6)) / 6) } })),
      h('span.c-max', { role: 'gridcell' }, num(f.max_act))],
    blank: () => h('span.c-label', { role: 'gridcell' }, h('i.bar-blank')),
    onchoose: (f) => { route.keep({ sel: f.index }); map?.choose(f.index); map?.point(f.index); },
    onopen: (f) => route.go(['feature', store.name, String(f.index)]),
    onfail: (e) => fill(message, problem(e, () => { fill(message); list.again(); })),
  });
  list.el.addEventListener('pointerover', (e) => {
    const row = e.target.closest('.vrow');
    const f = row && list.item(Number(row.getAttribute('aria-rowindex')) - 2);
    if (f) map?.point(f.index);
  });
  list.el.addEventListener('pointerleave', () => map?.point(-1));
  const listBox = h('div.list-box', list.el);
  const message = h('div');

  const range = () => ({ min_density: Number(state.lo) > -6 ? 10 ** Number(state.lo) : undefined, max_density: Number(state.hi) < 0 ? 10 ** Number(state.hi) : undefined, min_label_score: state.named === '' ? undefined : Number(state.named) });
  // A person's label counts as right, whatever is asked of a machine's.
  const inRange = (f) => { const r = range(); return (r.min_density === undefined || f.density >= r.min_density) && (r.max_density === undefined || f.density <= r.max_density) && api.isNamed(f, r.min_label_score); };
  const fixed = (v) => async (offset, limit) => ({ features: v.slice(offset, offset + limit), n_total: v.length });

  async function question(signal) {
    if (region) return { read: fixed(region), found: region };
    if (state.q && state.mode === 'text') {
      const a = await api.activations({ dict: dict.name, text: state.q, top_k: 0, n_features: SEARCHED }, signal);
      const by = await api.briefs(store.name, a.strongest.map((x) => x.index));
      const v = a.strongest.filter((x) => by.has(x.index)).map((x) => ({ ...by.get(x.index), on_text: x.max })).filter(inRange);
      shown.most = v.length ? v[0].on_text : 1;
      return { read: fixed(v), found: v, tokens: a.tokens.length };
    }
    if (state.q) {
      const r = await api.features(store.name, { q: state.q, limit: SEARCHED }, signal);
      return { read: fixed(r.features.filter(inRange)), found: r.features.filter(inRange), more: r.n_total > r.n ? r.n_total : 0 };
    }
    return { read: (offset, limit) => api.features(store.name, { sort: state.sort, offset, limit, silent: state.silent, ...range() }), found: null };
  }

  async function ask() {
    abort?.abort();
    abort = new AbortController();
    const mine = abort;
    listBox.setAttribute('aria-busy', 'true');
    try {
      const a = await question(mine.signal);
      const first = await list.ask(a.read);
      if (!first || mine !== abort) return;
      shown = { ...shown, ...first };
      fill(message);
      const total = whole(store.n_features);
      fill(count, region ? `${whole(region.length)} in the region` : a.tokens ? `${whole(first.n_total)} strongest on ${a.tokens} tokens` : `${whole(first.n_total)} of ${total}${a.more ? `, the best of ${whole(a.more)}` : ''}`);
      list.head.children[2].textContent = a.tokens ? 'On the text' : 'Density';
      lit = a.found ? a.found.map((f) => f.index) : null;
      map?.light(lit);
      list.el.hidden = !first.n_total;
      order.disabled = Boolean(state.q || region);
      order.title = order.disabled ? 'Of all features: what is searched comes best first' : '';
      if (!first.n_total) {
        fill(message, state.q && state.mode === 'words' ? empty('No feature has these words.', 'Labels, the words at a feature’s strongest examples, the tokens it makes likelier and the text around them are searched.')
          : empty('No feature is left.', state.named === '' ? 'Widen the density range.' : 'Widen the range of densities, or take features without a label in. sonde feature label makes labels and scores them.'));
      }
      if (state.sel && a.found === null) map?.choose(Number(state.sel));
    } catch (e) {
      if (e.name === 'AbortError') return;
      fill(count, '\u00a0');
      fill(message, problem(e, ask));
    } finally {
      if (mine === abort) listBox.removeAttribute('aria-busy');
    }
  }
  const soon = debounce(ask, 220);
  const change = (more) => { Object.assign(state, more); region = null; route.keep({ q: state.q, mode: state.mode === 'words' ? '' : state.mode, sort: state.sort === 'interest' ? '' : state.sort, lo: state.lo === '-6' ? '' : state.lo, hi: state.hi === '0' ? '' : state.hi, named: state.named, silent: state.silent, sel: '' }); soon(); };

  /* filters */
  const search = h('input', { type: 'search', placeholder: canRun && state.mode === 'text' ? 'a sentence' : 'bridge, "in the north", python', value: state.q, 'data-search': true, autocomplete: 'off', spellcheck: 'false', enterkeyhint: 'search' });
  search.addEventListener('input', () => change({ q: search.value.trim() }));
  search.addEventListener('keydown', (e) => { if (e.key === 'Enter') { list.el.focus(); if (list.at < 0) list.choose(0); } });
  const modes = canRun ? segmented('Search by', [['words', 'Words'], ['text', 'Running text']], state.mode, (v) => { search.placeholder = v === 'text' ? 'a sentence' : 'bridge, "in the north", python'; change({ mode: v }); search.focus(); }) : null;
  const silent = h('input', { type: 'checkbox', checked: state.silent === 'true', onchange: () => change({ silent: silent.checked ? 'true' : '' }) });
  const order = select(SORTS, state.sort, (v) => change({ sort: v }));
  const filters = h('form.filters', { role: 'search', onsubmit: (e) => e.preventDefault() },
    config.stores.length > 1 ? field('Store', select(config.stores.map((s) => [s.name, s.name]), store.name, (v) => route.go(['features', v]))) : null,
    h('div.field', h('label', { for: 'feature-search' }, 'Search'), Object.assign(search, { id: 'feature-search' }), modes),
    field('Order', order),
    h('fieldset', h('legend', 'Density'), h('div.pair',
      field('at least', select(DECADES.slice(0, 6), state.lo, (v) => change({ lo: v }))), field('at most', select(DECADES.slice(1), state.hi, (v) => change({ hi: v }))))),
    field('Labels', select(NAMED, state.named, (v) => change({ named: v }))),
    h('label.check', silent, 'with features that never fired'));

  /* map */
  const mapBox = h('section.map-box', { 'aria-label': 'Map of the features' });
  const colours = segmented('Colour by', [['cluster', 'Cluster'], ['density', 'Density']], state.colour, (v) => { state.colour = v; route.keep({ colour: v === 'cluster' ? '' : v }); map?.recolour(v); });
  async function makeMap() {
    let data;
    try {
      data = await api.map(store.name);
    } catch (e) {
      if (e.status !== 404) throw e;
      return fill(mapBox, h('header', h('h2', 'Map')), empty('This store has no map.', 'It lays the directions of the features out in the plane:', h('pre.command', `sonde feature map ${command.store(store.name)}`)));
    }
    if (gone) return;
    map = new FeatureMap(data, {
      colour: state.colour,
      onpoint: (index) => pick(index),
      onregion: (indexes) => takeRegion(indexes),
      onhover: () => {},
    });
    const clusters = h('details.clusters', h('summary', `${whole(data.clusters.length)} clusters`), h('ol', data.clusters.slice(0, 40).map((c, i) => h('li', h('button.link', { type: 'button', onclick: () => takeRegion(data.points.filter((p) => p[3] === i).map((p) => p[0])) }, c.words || 'no words'), h('span.value', whole(c.n))))));
    fill(mapBox, h('header', h('h2', 'Map'), colours, h('button.small', { type: 'button', onclick: () => map.reset() }, 'Whole'), wide), map.el, h('p.note', 'Drag to move, wheel to zoom, Shift and drag around dots to list them.'), clusters);
    map.start();
    if (lit) map.light(lit);
    if (state.sel) map.choose(Number(state.sel));
    window.sondeMap = map;
  }
  const wide = h('button.small', { type: 'button', 'aria-pressed': 'false', onclick: () => { const on = el.classList.toggle('wide-map'); wide.setAttribute('aria-pressed', String(on)); } }, 'Widen');
  async function pick(index) {
    const turn = ++asked;
    route.keep({ sel: index });
    let f;
    try {
      f = (await api.briefs(store.name, [index])).get(index);
    } catch (e) {
      return turn === asked && fill(card, problem(e, () => pick(index)));
    }
    if (turn !== asked || !f) return;
    fill(card, h('a.card-link', { href: featureLink(store.name, index) }, h('span.no', String(index)), h('span.label', called(f.label, 'no words')), chips(f)));
    for (let i = 0; i < list.total; i++) if (list.item(i)?.index === index) return list.choose(i, true);
  }
  async function takeRegion(indexes) {
    const turn = ++asked;
    if (!indexes) {
      if (!region) return;
      region = null;
    } else {
      const few = indexes.slice(0, 1000), by = new Map();
      try {
        for (let i = 0; i < few.length; i += SEARCHED) for (const [k, f] of await api.briefs(store.name, few.slice(i, i + SEARCHED))) by.set(k, f);
      } catch (e) {
        return turn === asked && fill(message, problem(e, () => takeRegion(indexes)));
      }
      if (turn !== asked || gone) return;
      region = few.map((i) => by.get(i)).filter(Boolean).sort((a, b) => b.interest - a.interest);
    }
    await ask();
  }
  const card = h('div.map-card');

  const tabs = segmented('Show', [['list', 'List'], ['map', 'Map']], state.view, (v) => { el.dataset.view = v; route.keep({ view: v === 'list' ? '' : v }); map?.resize(); });
  tabs.classList.add('tabs');
  const el = h('div.view.features', { data: { view: state.view } },
    h('header.view-head', h('div.view-title', h('h1', 'Features ', h('span.of', 'of ', store.name)), h('p.lead', `${whole(store.n_alive)} directions at ${store.store.site} that ${store.store.model} uses, each with what it responds to.`)),
      h('div.view-tools', tabs, copies(() => (state.q && state.mode === 'words' ? command.search(store.name, state.q) : command.search(store.name)), () => shown))),
    h('div.features-grid', filters, h('section.list-side', { 'aria-label': 'List' }, count, message, listBox), h('div.map-side', mapBox, card)),
    provenance(store.store));
  return {
    title: 'Features', el,
    shown() {
      ask();
      load(mapBox, async () => { await makeMap(); return [...mapBox.childNodes]; }, 8);
      if (query.focus) search.focus();
    },
    keys: { j: () => { list.choose(list.at + 1); }, k: () => { list.choose(Math.max(0, list.at - 1)); }, Enter: () => { const f = list.item(list.at); if (f) route.go(['feature', store.name, String(f.index)]); } },
    leave() { gone = true; soon.cancel(); abort?.abort(); list.leave(); map?.leave(); delete window.sondeMap; },
  };
}
