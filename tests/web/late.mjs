// late.mjs BROWSER URL STATIC-URL DIR: answers that come late, in another order or not at all, what a person does meanwhile, and a server that is another by then.
import { browser, check, close, end, must, open, said, test } from './browse.mjs';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytes, num, tokenName } from '../../web/src/format.js';
import { kept } from '../../web/src/command.js';
const [, , , base, files, dir] = process.argv;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const failure = (r, message) => r.fulfill({ status: 400, json: { error: { message } } });
const asked = (r) => r.request().postDataJSON();
// A page whose routes stand before it is opened. The browser tells of every answer that failed: here that is what is asked for.
async function routed(hash, routes, options = {}) {
  const context = await browser.newContext({ viewport: { width: options.width || 1440, height: 900 }, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'] });
  for (const [pattern, answer] of Object.entries(routes)) await context.route(pattern, answer);
  return open(hash, { context, ...options });
}
const closeFailed = (page) => {
  for (let i = said.length - 1; i >= 0; i--) if (/Failed to load resource/.test(said[i])) said.splice(i, 1);
  return close(page);
};
const configOf = (change) => async (r) => { const c = await (await r.fetch()).json(); change(c); await r.fulfill({ json: c }); };
const two = configOf((c) => { c.dicts.push({ ...c.dicts[0], name: 'other', store: 'second' }); c.stores.push({ ...c.stores[0], name: 'second' }); });
const steerTo = (more) => `s=${encodeURIComponent(JSON.stringify([{ feature: { dict: 'l0', index: 3 }, op: 'add', value: 0.5, unit: 'rms', ...more }]))}`;

await test('numbers have three digits, and what nobody sees in a token is shown', async () => {
  must(num(999.7) === '1,000' && num(-999.7) === '−1,000' && num(999.4) === '999' && bytes(999900) === '1.00 MB', `${num(999.7)} ${num(999.4)} ${bytes(999900)}`);
  must(tokenName('a\u202eb\u200b\u0007 ') === 'a⟨202E⟩b⟨200B⟩⟨07⟩·', tokenName('a\u202eb\u200b\u0007 '));
});

await test('text: what failed leaves nothing of the text before', async () => {
  const page = await routed('#/text?t=the+cat+sat', { '**/v1/lens': (r) => (/bridge/.test(asked(r).text) ? failure(r, 'too long') : r.continue()) });
  await page.waitForSelector('table.lens td');
  await page.waitForSelector('.feature-bars li, .text-side .soft');
  await page.fill('.text-in textarea', 'a red bridge');
  await page.waitForSelector('.text-lens .problem');
  await page.waitForFunction(() => !/cat/.test(document.querySelector('.strip').textContent) && /bridge/.test(document.querySelector('.strip').textContent));
  must((await page.locator('.text header .facts').count()) === 0, 'the loss of another text stands there');
  await closeFailed(page);
});

await test('text: features that did not come are said though the lens comes later', async () => {
  const page = await routed('#/text?t=the+cat+sat', { '**/v1/activations': (r) => failure(r, 'no such site'), '**/v1/lens': async (r) => { await sleep(400); await r.continue(); } });
  await page.waitForSelector('table.lens td');
  must(/no such site/.test(await page.textContent('.text-side')), 'the error is lost');
  await closeFailed(page);
});

await test('text: labels that come late are not those of another dictionary', async () => {
  const brief = (r, label) => r.fulfill({ json: { features: new URL(r.request().url()).searchParams.get('ids').split(',').map((i) => ({ index: Number(i), label, density: 0 })) } });
  const page = await routed('#/text?t=the+cat+sat&dense=1', {
    '**/v1/config': two, '**/v1/briefs/tiny?*': async (r) => { await sleep(900); await brief(r, 'of the first'); }, '**/v1/briefs/second?*': (r) => brief(r, 'of the second'),
    '**/v1/activations': (r) => r.continue({ postData: { ...asked(r), dict: 'l0' } }),
  });
  await page.waitForSelector('.feature-bars li');
  await page.selectOption('[aria-label=Dictionary]', 'other');
  await page.waitForSelector('text=of the second');
  await sleep(1200);
  must(!/of the first/.test(await page.textContent('.text-side')), 'labels of another dictionary');
  await close(page);
});

await test('text: tokens are chosen by keys, back and on, and named to who hears the page', async () => {
  const page = await routed('#/text?t=the+cat+sat+on+the+red+mat', {});
  await page.waitForSelector('table.lens td');
  await page.click('.tok >> nth=3');
  for (const key of ['Shift+ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight']) await page.keyboard.press(key);
  must((await page.$$eval('.tok', (v) => v.flatMap((x, i) => (x.classList.contains('on') ? [i] : [])))).join() === '3,4', 'a choice neither shrinks nor goes on');
  must(await page.evaluate(() => document.getElementById(document.querySelector('.strip').getAttribute('aria-activedescendant')) === document.querySelectorAll('.tok')[4]), 'the token is not named');
  await close(page);
});

const compared = async (page) => {
  await page.fill('textarea >> nth=0', Array.from({ length: 8 }, (_, i) => `the cat sat on ${i}`).join('\n'));
  await page.fill('textarea >> nth=1', Array.from({ length: 8 }, (_, i) => `red bridge ${i} gate`).join('\n'));
  await page.click('text=Compare');
  await page.fill('input[placeholder="sorry, cannot"]', 'the, cat');
};

await test('contrast: one answer that fails ends the counting and stays said', async () => {
  let n = 0;
  const page = await routed('#/contrast', { '**/v1/completions': async (r) => { if (n++ === 0) { await sleep(100); return failure(r, 'out of luck'); } await sleep(400); return r.fulfill({ json: { choices: [{ text: 'the' }] } }); } });
  await compared(page);
  await page.click('text=Take them out and count');
  await page.waitForSelector('text=out of luck');
  await sleep(900);
  must((await page.locator('text=out of luck').count()) === 1 && (await page.isEnabled('text=Take them out and count')), `the error is lost: ${await page.textContent('.contrast .card:last-child')}`);
  must(n < 9, `${n} answers are asked for`);
  await closeFailed(page);
});

await test('contrast: what is taken out and counted is of the comparison that is shown', async () => {
  const steered = new Set();
  const page = await routed('#/contrast', { '**/v1/config': two, '**/v1/completions': (r) => { for (const s of asked(r).sonde?.steer || []) steered.add(s.feature.dict); return r.fulfill({ json: { choices: [{ text: 'a cat' }] } }); } });
  await compared(page);
  await page.selectOption('[aria-label=Dictionary]', 'other');
  await page.click('text=Take them out and count');
  await page.waitForSelector('text=/8 of 8/');
  must([...steered].join() === 'l0', `features of ${[...steered]}`);
  await page.fill('input[placeholder="sorry, cannot"]', 'bridge');
  must(/Counted: answers with “the” or “cat”/.test(await page.textContent('.contrast .card:last-child')), 'which words were counted is not told');
  await close(page);
});

await test('keys: Enter opens the link that has the focus', async () => {
  const page = await routed('#/features/tiny', {});
  await page.waitForSelector('.vrow .label');
  await page.focus('nav a >> nth=2');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.view.text');
  await close(page);
});

await test('features: a map that comes after the view was left is not drawn', async () => {
  const page = await routed('#/features/tiny', { '**/v1/map/**': async (r) => { await sleep(600); await r.continue(); } });
  await page.waitForSelector('.vrow .label');
  const map = page.waitForResponse(/v1\/map/);
  await page.evaluate(() => { location.hash = '#/runs'; });
  await page.waitForSelector('.view.runs');
  await map;
  await sleep(300);
  must(await page.evaluate(() => window.sondeMap === undefined), 'a map without a page listens on');
  await close(page);
});

await test('features: a dot, a region and rows that did not come are said, and come when they are asked for again', async () => {
  let down = false, once = true;
  const page = await routed('#/features/tiny?sort=index', {
    '**/v1/briefs/**': (r) => (down ? r.abort() : r.continue()),
    '**/v1/features/tiny?*offset=100*': (r) => { if (!once) return r.continue(); once = false; return r.abort(); },
  });
  await page.waitForSelector('.map[data-drawn]');
  down = true;
  await page.evaluate(() => window.sondeMap.onpoint(3));
  await page.waitForSelector('.map-card .problem');
  down = false;
  await page.click('.map-card button');
  await page.waitForSelector('.map-card .card-link');
  await page.waitForSelector('.vrow .label');
  await page.$eval('.vlist', (x) => { x.scrollTop = 110 * 60; });
  await page.waitForSelector('.list-side .problem');
  await page.click('.list-side .problem button');
  await page.waitForFunction(() => document.querySelector('.vrow[aria-rowindex="112"] .label'));
  must((await page.locator('.list-side .problem').count()) === 0, 'the problem stays');
  down = true;
  await page.evaluate(() => window.sondeMap.onregion([1, 2, 3]));
  await page.waitForSelector('.list-side .problem');
  await closeFailed(page);
});

await test('feature: a text that is typed while one leaves does not go to the next address', async () => {
  const page = await routed('#/feature/tiny/3', {});
  await page.fill('.test textarea', 'the cat');
  await page.evaluate(() => { location.hash = '#/runs'; });
  await page.waitForSelector('.view.runs');
  await sleep(600);
  must(!page.url().includes('text='), page.url());
  await close(page);
});

await test('a folder: a file that did not come is asked for again', async () => {
  let down = true;
  const page = await routed('#/features/tiny', { '**/list.json.gz': (r) => (down ? r.abort() : r.continue()) }, { from: files });
  await page.waitForSelector('.list-side .problem');
  down = false;
  await page.click('.list-side .problem button');
  await page.waitForSelector('.vrow .label');
  await closeFailed(page);
});

await test('runs: a server that went is said, and nothing is called live', async () => {
  let down = false;
  const page = await routed('#/runs/adapter', { '**/v1/runs': async (r) => { if (down) return r.abort(); const v = await (await r.fetch()).json(); v.runs.forEach((x) => { x.changed = v.now; }); return r.fulfill({ json: v }); }, '**/v1/runs/adapter*': async (r) => { const v = await (await r.fetch()).json(); v.events = v.events.filter((e) => e.event !== 'end'); return r.fulfill({ json: v }); } });
  await page.waitForSelector('.run-card canvas');
  await page.waitForSelector('.run-head .live');
  const drawn = () => page.$eval('.run-card canvas', (c) => c.toDataURL());
  const light = await drawn();
  await page.emulateMedia({ colorScheme: 'dark' });
  for (let i = 0; i < 100 && (await drawn()) === light; i++) await sleep(100);
  must((await drawn()) !== light, 'a curve keeps the colours of the light');
  down = true;
  await page.waitForSelector('.runs .problem');
  must((await page.locator('.live').count()) === 0, 'it is called live');
  down = false;
  await page.waitForSelector('.run-head .live');
  must((await page.locator('.runs .problem').count()) === 0, 'the problem stays');
  await closeFailed(page);
});

await test('home: a server that is another by now is shown as it is', async () => {
  let name = 'first', n = 0;
  const page = await routed('#/feature/tiny/3', { '**/v1/config': configOf((c) => { c.name = name; }), '**/v1/features/tiny/3': (r) => { n++; return r.continue(); } });
  await page.waitForSelector('.bar-model:has-text("first")');
  name = 'second';
  await page.evaluate(() => { location.hash = '#/'; });
  await page.waitForSelector('h1:has-text("second")');
  must((await page.textContent('.bar-model')) === 'second', 'the bar names the model before');
  await page.evaluate(() => { location.hash = '#/feature/tiny/3'; });
  await page.waitForSelector('.examples h2');
  must(n === 2, 'a feature of the server before is shown');
  await close(page);
});

await test('a server that is being started is waited for', async () => {
  let n = 0;
  const page = await routed('#/features/tiny', { '**/v1/config': (r) => (n++ < 2 ? r.fulfill({ status: 503, json: { error: { message: 'the model is being loaded' } } }) : r.continue()) }, { first: '.problem' });
  must(/being loaded/.test(await page.textContent('.problem')), 'why nothing is shown');
  await page.waitForSelector('.vrow .label');
  must(n >= 3, 'it was not asked again');
  await closeFailed(page);
});

const said_ = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"length"},{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n';
await test('steer: who runs again is not told that it stopped; a slider leaves the address at its end', async () => {
  const page = await routed(`#/steer?n=8&p=the+cat&${steerTo({})}`, { '**/v1/chat/completions': async (r) => { await sleep(3000); await r.fulfill({ contentType: 'text/event-stream', body: said_ }).catch(() => {}); } });
  await page.waitForSelector('.steer-card');
  await sleep(300);
  await page.keyboard.press('Control+Enter');
  await sleep(300);
  must(/Reading/.test(await page.textContent('.steer-main .count')), await page.textContent('.steer-main .count'));
  await page.focus('.steer-card [aria-label=Unit]');
  await page.selectOption('.steer-card [aria-label=Unit]', 'raw');
  must((await page.evaluate(() => document.activeElement.getAttribute('aria-label'))) === 'Unit', 'what had the focus has lost it');
  await page.selectOption('.steer-card [aria-label=Unit]', 'rms');
  await page.$eval('.steer-card input[type=range]', (x) => { for (let i = 0; i <= 400; i++) { x.value = String(-2 + i / 100); x.dispatchEvent(new Event('input')); } });
  await page.waitForFunction(() => JSON.parse(new URLSearchParams(location.hash.split('?')[1]).get('s'))[0].value === 2, null, { timeout: 3000 });
  await closeFailed(page);
});

await test('steer: the words under a slider are what the server does', async () => {
  // The store has another highest activation than the dictionary, which was trained on other tokens.
  const briefs = async (r) => { const v = await (await r.fetch()).json(); v.features.forEach((f) => { f.max_act = 1e3; }); await r.fulfill({ json: v }); };
  const all = await (await fetch(`${base}sonde/v1/briefs/tiny?dict=l0&ids=${Array.from({ length: 200 }, (_, i) => i)}`)).json();
  const feature = { dict: 'l0', index: all.features.find((f) => f.units.max_act && f.units.max_act !== f.max_act).index };
  for (const more of [{ unit: 'rms', value: 0.5 }, { op: 'clamp', unit: 'max_act', value: 1 }, { unit: 'max_act', value: 2 }]) {
    const page = await routed(`#/steer?n=4&p=the+cat&${steerTo({ feature, ...more })}`, { '**/v1/briefs/**': briefs });
    await page.waitForFunction(() => document.querySelector('.steer-card .note').textContent.includes('raw'));
    const note = await page.textContent('.steer-card .note');
    const done = await page.evaluate(async (s) => (await (await fetch('sonde/v1/measure', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text: 'the cat', answer: ' sat', steer: JSON.parse(s) }) })).json()).applied[0].value_raw, new URLSearchParams(steerTo({ feature, ...more })).get('s'));
    must(note.startsWith(`= ${num(done)} raw`), `${JSON.stringify(more)}: ${note}, done: ${done}`);
    await close(page);
  }
});

await test('steer: a sweep suggests as the command does, reads answers behind their prompt, and claims nothing of what it does not read', async () => {
  const read = [], answers = { '**/v1/config': configOf((c) => { c.directions = [{ name: 'up', kind: 'mean', layer: 0 }]; }),
    '**/completions': (r) => (asked(r).stream ? r.fulfill({ contentType: 'text/event-stream', body: said_ }) : r.fulfill({ json: { choices: [{ text: ` at ${asked(r).sonde.steer[0].value}`, message: { content: ` at ${asked(r).sonde.steer[0].value}` } }] } })),
    // Perplexity rises threefold with the strength; the plain model's reading finds the concept in the last `on` tokens of four.
    '**/v1/measure': (r) => { const v = asked(r).steer[0].value; return r.fulfill({ json: { n: 4, kl_mean: v * v, kl_max: v * v, ppl_plain: 10 * (v > 0.5 ? 3 : 1), rep4: 0, tokens: [] } }); },
    '**/v1/activations': (r) => { const b = asked(r); read.push(b); const v = Number(/at (\S+)$/.exec(b.text ?? b.messages.at(-1).content)[1]), on = v > 0.5 ? 4 : v > 0.25 ? 2 : 0; return r.fulfill({ json: { features: [{ values: [9, 9, 9, ...[0, 1, 2, 3].map((k) => (k >= 4 - on ? 1 : 0))] }], tokens: [] } }); } };
  let page = await routed(`#/steer?n=8&mode=text&p=the+cat&${steerTo({})}`, answers);
  await page.click('.steer-card button.small');
  await page.waitForSelector('text=/^Most of the concept/');
  must(/: 0.500\.$/.test(await page.textContent('text=/^Most of the concept/')), await page.textContent('text=/^Most of the concept/'));
  must(read.every((b) => b.text.startsWith('the cat at ')), `read without its prompt: ${JSON.stringify(read[0])}`);
  const shares = await page.$$eval('.sweep tbody tr', (v) => v.map((x) => x.querySelectorAll('td')[3].textContent));
  must(shares.join() === '0 %,0 %,0 %,0 %,50.0 %,100 %,100 %', shares.join());
  await close(page);
  const cross = configOf((c) => { c.directions = [{ name: 'up', kind: 'mean', layer: 0 }]; c.dicts[0].kind = 'crosscoder'; });
  for (const [s, config] of [['s=' + encodeURIComponent('[{"direction":"up","op":"add","value":1,"unit":"rms"}]'), answers['**/v1/config']], [steerTo({ site: 'resid_post.0' }), cross]]) {
    page = await routed(`#/steer?n=8&mode=text&p=the+cat&${s}`, { ...answers, '**/v1/config': config, '**/v1/activations': (r) => failure(r, 'at no one site') });
    await page.click('.steer-card button.small');
    await page.waitForSelector('text=/is measured of features/');
    must(!/No strength here/.test(await page.textContent('.steer-main')), 'a direction is said to bring nothing');
    await close(page);
  }
});

const copied = async (page) => { await page.click('.view-head [data-copy=command]'); return page.evaluate(() => navigator.clipboard.readText()); };
await test('a command that is copied does nothing beside, whatever an address or a file says', async () => {
  const named = configOf((c) => { c.monitors = [{ name: 'fifth', when: { direction: 'up', gt: 2, unit: 'std' } }]; });
  let page = await routed(`#/steer?n=${encodeURIComponent('8;touch x')}&seed=${encodeURIComponent('$(touch x)')}&temp=0.5&p=the+cat&${steerTo({ when: { monitor: 'fifth', gt: 3 } })}`, { '**/v1/config': named, '**/completions': (r) => r.fulfill({ contentType: 'text/event-stream', body: said_ }) });
  const line = await copied(page);
  must(/ -n 96 --temp 0.5 --seed 7$/.test(line), line);
  must(line.includes('"when":{"direction":"up","gt":3,"unit":"std"}'), `a monitor that sonde run does not know: ${line}`);
  await close(page);
  page = await routed('#/text?chat=1&t=the+cat', {});
  await page.waitForSelector('table.lens td');
  const ids = await page.evaluate(async () => (await (await fetch('sonde/v1/lens', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ messages: [{ role: 'user', content: 'the cat' }] }) })).json()).tokens.map((t) => t.id));
  must(ids.length > 3 && (await copied(page)).endsWith(` --ids ${ids} --mode faithful`), `what a chat is read as: ${await copied(page)}`);
  await close(page);
  page = await routed('#/contrast?chat=1', {});
  must((await copied(page)).endsWith(' --chat'), await copied(page));
  await close(page);
  page = await routed('#/runs/adapter', {});
  must((await copied(page)) === `tail -f ${join(dir, 'runs/adapter')}/events.jsonl`, await copied(page));
  await close(page);
  const args = ["/opt/sonde audit run 'a b.gguf' --suite s.csv --name 'it'\\''s' --json | jq '.refusal'", 'sonde audit run x; touch y', 'sonde audit run $(touch y)', "sonde audit run x | jq '.a' > y", 'sonde audit run x\ntouch y', 'sonde audit run `touch y`'];
  must(kept(args[0]) === args[0].replace('/opt/sonde', 'sonde'), kept(args[0]));
  for (const a of args.slice(1)) must(kept(a).startsWith('#'), `${a}: ${kept(a)}`);
  writeFileSync(join(dir, 'args.json'), JSON.stringify({ schema: 'sonde.audit_run/1', name: 'a', replies: [], provenance: { args: args[1] } }));
  page = await routed('#/audit', {});
  await page.setInputFiles('input[type=file]', join(dir, 'args.json'));
  await page.waitForSelector('.headline-text');
  must((await copied(page)).startsWith('#'), await copied(page));
  await close(page);
});

await test('a list of a million rows goes to its end, by keys and by its bar', async () => {
  const row = (i) => ({ index: i, label: `row ${i}`, label_source: 'label', density: 0.001, n_fire: 1, max_act: 1, interest: 1, top_logits: [] });
  const page = await routed('#/features/tiny', { '**/v1/features/tiny?*': (r) => { const q = new URL(r.request().url()).searchParams, at = Number(q.get('offset')); return r.fulfill({ json: { n: 100, n_total: 1e6, features: Array.from({ length: 100 }, (_, k) => row(at + k)) } }); } });
  await page.waitForSelector('.vrow .label');
  await page.focus('.vlist');
  const shown = (n) => page.waitForFunction((t) => { const list = document.querySelector('.vlist').getBoundingClientRect(); return [...document.querySelectorAll('.vrow.on')].some((x) => x.textContent.includes(t) && x.getBoundingClientRect().bottom <= list.bottom + 1 && x.getBoundingClientRect().top >= list.top); }, `row ${n}`);
  await page.keyboard.press('End');
  await shown(999999);
  for (const key of ['ArrowUp', 'ArrowUp', 'PageUp']) await page.keyboard.press(key);
  await shown(999987);
  await page.$eval('.vlist', (x) => { x.scrollTop = x.scrollHeight / 2; });
  await page.waitForFunction(() => [...document.querySelectorAll('.vrow .label')].some((x) => /^row (49|50)\d{4}$/.test(x.textContent)));
  await page.keyboard.press('Home');
  await shown(0);
  await close(page);
});

await test('a browser that keeps nothing shows the page', async () => {
  const context = await browser.newContext();
  await context.addInitScript(() => { for (const area of ['localStorage', 'sessionStorage']) Object.defineProperty(window, area, { get() { throw new DOMException('refused', 'SecurityError'); } }); });
  const page = await open('#/feature/tiny/3', { context });
  await page.waitForSelector('.examples h2');
  await page.click('.bar-end button >> nth=0');
  must((await page.getAttribute('html', 'data-theme')) === 'light', 'the theme does not change');
  await close(page);
});

await test('names of any length fit in narrow windows', async () => {
  const long = 'a_model_with_a_name_that_nobody_would_type_'.repeat(3);
  const names = configOf((c) => {
    c.name = long;
    for (const x of [...c.dicts, ...c.stores, ...c.recipes]) if (x.name !== 'tiny' && x.name !== 'l0') x.name = long;
    c.stores.push({ ...c.stores[0], name: long.slice(0, 64), store: { ...c.stores[0].store, model: long, kind: 'batchtopk' } });
    c.recipes = [{ name: long.slice(0, 64), description: long, steer: [] }];
    c.directions = [{ name: long.slice(0, 64), kind: 'mean', layer: 3 }];
    for (const s of c.stores) s.store.model = long;
  });
  for (const hash of ['#/', '#/features/tiny', '#/feature/tiny/3', `#/features/${long.slice(0, 64)}`]) {
    const page = await routed(hash, { '**/v1/config': names, [`**/v1/features/${long.slice(0, 64)}*`]: (r) => r.continue({ url: r.request().url().replace(long.slice(0, 64), 'tiny') }), [`**/v1/map/${long.slice(0, 64)}*`]: (r) => r.continue({ url: r.request().url().replace(long.slice(0, 64), 'tiny') }) }, { width: 360 });
    await page.waitForSelector('.feature-row, .vrow .label, .examples h2');
    if (process.env.SONDE_SHOTS) await page.screenshot({ path: `${process.env.SONDE_SHOTS}/long-${hash.length}.png`, fullPage: true });
    await check(page, hash);
    const out = await page.$$eval('.card, .view-head, .features-grid, .provenance', (v) => v.flatMap((x) => [...x.querySelectorAll('*')].filter((y) => y.getBoundingClientRect().width && y.getBoundingClientRect().right > x.getBoundingClientRect().right + 1 && !y.closest('.scroll, .vlist, .map, .examples, .bars, .feature-row, .card-link, .clusters')).map((y) => `${y.tagName}.${y.className}`)).slice(0, 4));
    must(out.length === 0, `${hash}: beyond its card: ${out.join(', ')}`);
    await close(page);
  }
});

await end();
