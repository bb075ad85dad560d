// Home: what this server holds, and where to begin.
import { h } from './dom.js';
import * as api from './api.js';
import * as command from './command.js';
import { num, whole, short, percent } from './format.js';
import { link } from './route.js';
import { copies, empty, facts, featureRow, load, provenance, density } from './parts.js';

function modelCard(config) {
  const m = config.model;
  if (!m) {
    return h('section.card', h('h2', 'No model is loaded'),
      h('p.soft', api.isStatic ? 'This is a folder of results: features can be read and searched, not run.' : 'Features can be read and searched. To run text, steer, and see activations, start the server with one:'),
      api.isStatic ? null : h('pre.command', 'sonde serve MODEL --dict DIR --store FILE.db'));
  }
  const list = [
    ['Architecture', m.architecture ?? m.arch ?? '–'],
    ['Layers', whole(m.n_layer ?? m.layers)],
    ['Width', whole(m.d_model ?? m.width)],
    ['Vocabulary', whole(m.n_vocab ?? m.vocab)],
    ['Context', `${whole(config.n_ctx)} tokens`],
    m.n_params ? ['Parameters', `${num(m.n_params / 1e6)} M`] : null,
    config.model_sha256 ? ['SHA-256', short(config.model_sha256), config.model_sha256] : null];
  return h('section.card', h('h2', config.name), facts(list));
}

// How much of the stream a dictionary leaves out; what is usual is a matter of its size, so the page says the figure and no verdict.
function dictRow(d) {
  const store = d.store;
  return h('tr', h('th', { scope: 'row' }, store ? h('a', { href: link(['features', store]) }, d.name) : d.name),
    h('td', d.kind), h('td', h('code', d.site)), h('td.n', whole(d.m)), h('td.n', num(d.l0)), h('td.n', percent(d.fvu)),
    h('td', d.same_model ? 'this model' : h('strong.warn', 'another model')));
}

function dicts(config) {
  if (!config.dicts.length) {
    return empty('No dictionary is registered.', 'Learn one from any text, then start the server with --dict:', h('pre.command', command.learn(config)));
  }
  return h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Dictionaries' }, h('table.plain', h('thead', h('tr', ['Dictionary', 'Kind', 'Site', 'Features', 'L0', 'FVU', 'Learned on'].map((x) => h('th', { scope: 'col' }, x)))),
    h('tbody', config.dicts.map(dictRow))), h('p.note', 'L0: features active on a token. FVU: share of the variance that the dictionary leaves unexplained.'));
}

function storeCard(s) {
  const list = h('div.feature-list', { vars: { 'min-height': '250px' } });
  load(list, async () => {
    const { features } = await api.features(s.name, { sort: 'interest', limit: 7 });
    return features.map((f) => featureRow(s.name, f, density(f.density)));
  }, 7);
  return h('section.card', h('header', h('h2', h('a', { href: link(['features', s.name]) }, s.name)), s.same_model === false ? h('strong.warn', 'of another model') : null, h('span.soft', `${whole(s.n_alive)} of ${whole(s.n_features)} features fire`)),
    list, h('p.more', h('a', { href: link(['features', s.name]) }, 'All features'), ' · ', h('a', { href: link(['features', s.name], { view: 'map' }) }, 'Map')), provenance(s.store));
}

function first(config) {
  if (api.isStatic) return null;
  const steps = [
    ['Learn a dictionary of what the model represents', command.learn(config)],
    ['Find examples, logits and neighbours of every feature', `sonde feature build dict ${command.model(config)} TEXT/ -o features.db && sonde feature map features.db`],
    ['Look at them here', `sonde serve ${command.model(config)} --dict dict --store features.db`]];
  return h('section.card', h('h2', config.stores.length ? 'Begin another' : 'Begin'), h('ol.steps', steps.map(([what, c]) => h('li', h('p', what), h('pre.command', { tabindex: '0' }, c)))));
}

function named(title, list, row, none) {
  return h('section.card', h('h2', title), list.length ? h('ul.plain-list', list.map(row)) : h('p.soft', none));
}

export async function show({ config }) {
  const el = h('div.view.home',
    h('header.view-head', h('div.view-title', h('h1', config.name ? ['What is in ', h('em', config.name)] : 'What was found'),
      h('p.lead', api.isStatic ? 'Features of a model: what switches each one on, and what it makes likelier.' : 'Open it, see what it has learned, change how it behaves, and measure what that does.')),
    h('div.view-tools', copies(() => command.serve(config), () => config))),
    h('div.home-grid',
      h('div', modelCard(config), api.isStatic ? null : h('section.card', h('h2', 'Dictionaries'), dicts(config))),
      h('div', config.stores.map(storeCard), config.stores.length ? null : h('section.card', h('h2', 'Features'), empty('No store of features is registered.', 'A store holds what each feature of a dictionary responds to.')))),
    api.isStatic ? null : h('div.home-grid',
      named('Recipes', config.recipes, (r) => h('li', h('a', { href: link(['steer'], { recipe: r.name }) }, r.name), ' ', h('span.soft', r.description || `${r.steer.length} steers`)), 'None. A recipe is a set of steers under a name; Steer can save one.'),
      config.monitors?.length ? named('Monitors', config.monitors, (m) => h('li', h('code', m.name), ' ', h('span.soft', m.description || JSON.stringify(m.when).slice(0, 80))), '') : null,
      named('Directions', config.directions, (d) => h('li', h('code', d.name), ' ', h('span.soft', `${d.kind}, layer ${d.layer}`)), 'None. sonde direction make finds one from two sets of prompts.')),
    first(config));
  return { title: '', el };
}
