// page.mjs BROWSER URL STATIC-URL DIR [SHOTS]: clicks through every view of a small model that is made for it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WIDTHS, browser, check, close, end, frames, must, open, said, test } from './browse.mjs';
const [, , , base, files, dir, shots] = process.argv;

const VIEWS = [
  ['home', '#/', async (p) => { await p.waitForSelector('.feature-row'); }],
  ['features', '#/features/tiny', async (p) => { await p.waitForSelector('.vrow .label, .map-stage'); }],
  ['feature', '#/feature/tiny/3', async (p) => { await p.waitForSelector('.examples h2'); }],
  ['text', '#/text?t=the+cat+sat', async (p) => { await p.waitForSelector('table.lens td'); await p.waitForSelector('.feature-bars li, .text-side .soft'); }],
  ['contrast', '#/contrast?a=the+cat+sat%0Athe+cat+ran&b=a+red+bridge%0Athe+old+gate', async (p) => { await p.waitForSelector('.contrast table.plain td.n'); must(await p.evaluate(() => [...document.querySelectorAll('.contrast .scroll')].every((x) => x.scrollWidth <= x.clientWidth)), 'the table of features scrolls sideways'); }],
  ['steer', '#/steer?recipe=more&n=12&p=the+cat', async (p) => { await p.waitForSelector('.quality .card, .quality .badge, .quality p'); }],
  ['runs', '#/runs/adapter', async (p) => { await p.waitForSelector('.run-card canvas'); }],
  ['audit', '#/audit/change', async (p) => { await p.waitForSelector('.forest'); }],
  ['audit-models', '#/audit/models?with=2', async (p) => { await p.waitForSelector('[data-part=raised] tbody tr'); await p.click('.samples .vrow >> nth=1'); }],
];
for (const [width, height] of WIDTHS) {
  for (const [name, hash, ready] of VIEWS) {
    const colorScheme = width === 820 ? 'dark' : 'light';
    await test(`${name} at ${width} px, ${colorScheme}: no error, nothing off the origin, axe finds nothing serious`, async () => {
      const page = await open(hash, { width, height, colorScheme });
      await ready(page);
      await check(page, name);
      if (shots) await page.screenshot({ path: join(shots, `${name}-${width}.png`) });
      must(await page.locator('[data-copy=command]').count(), 'there is no "copy command"');
      must(await page.locator('[data-copy=json]').count(), 'there is no "copy JSON"');
      await close(page);
    });
  }
}

await test('contrast: the sets are read, what differs is told beside chance, causes are counted', async () => {
  const page = await open('#/contrast');
  await page.fill('textarea >> nth=0', Array.from({ length: 8 }, (_, i) => `the cat sat on ${i}`).join('\n'));
  await page.fill('textarea >> nth=1', Array.from({ length: 8 }, (_, i) => `red bridge ${i} gate`).join('\n'));
  await page.click('text=Compare');
  await page.waitForSelector('.contrast table.plain td.n');
  must(/floor of/.test(await page.textContent('.contrast .card:nth-of-type(2) header')), 'the floor is not told');
  must((await page.textContent('.contrast tbody td.n >> nth=0')).trim() !== '', 'no share');
  must((await page.locator('.contrast tbody tr:not(.dim)').count()) > 0, 'nothing tells cats from bridges');
  await page.fill('input[placeholder="sorry, cannot"]', 'the, cat');
  await page.click('text=Take them out and count');
  await page.waitForSelector('text=/of 8/', { timeout: 60000 });
  must(decodeURIComponent(page.url()).includes('words=the'), 'the words are not in the address');
  await close(page);
});

await test('what is copied is a command, and JSON', async () => {
  const page = await open('#/feature/tiny/3');
  await page.waitForSelector('.examples h2');
  await page.click('[data-copy=command]');
  must((await page.evaluate(() => navigator.clipboard.readText())) === `sonde feature show ${join(dir, 'tiny.db')} 3`, 'the command');
  await page.click('[data-copy=json]');
  must(JSON.parse(await page.evaluate(() => navigator.clipboard.readText())).index === 3, 'the JSON');
  await close(page);
});

await test('steer: what is copied runs where the server was started, and a number out of bounds is said', async () => {
  const page = await open('#/steer?recipe=more&n=12&p=the+cat');
  await page.waitForSelector('.quality .card, .quality .badge, .quality p');
  await page.click('[data-copy=command]');
  const line = await page.evaluate(() => navigator.clipboard.readText());
  must(line.startsWith(`sonde run ${join(dir, 'tiny.gguf')} -p 'the cat'`) && line.includes(`"dict":"${join(dir, 'l0')}"`), line);
  writeFileSync(join(dir, 'copied'), line);
  const n = page.locator('.sampling input >> nth=0');
  await n.fill('99999');
  must((await n.getAttribute('aria-invalid')) === 'true', 'the field is not marked');
  must(/Tokens: 1 to 1024, a whole number. It stays at 12/.test(await page.textContent('.doubt')), await page.textContent('.doubt'));
  await n.fill('16');
  must((await page.textContent('.doubt')) === '' && (await n.getAttribute('aria-invalid')) === 'false', 'the doubt stays');
  await close(page);
});

await test('features: words, order, keys, the map and the address', async () => {
  const page = await open('#/features/tiny');
  await page.waitForSelector('.vrow .label');
  const before = await page.textContent('.count');
  await page.keyboard.press('/');
  await page.keyboard.type('bridge');
  await page.waitForFunction((t) => document.querySelector('.count').textContent !== t, before);
  must(page.url().includes('q=bridge'), 'the search is not in the address');
  await page.keyboard.press('Enter');
  await page.keyboard.press('ArrowDown');
  const row = page.locator('.vrow.on');
  must((await row.count()) === 1, 'no row is chosen by keys');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.feature .examples h2');
  await page.goBack();
  await page.waitForSelector('.vrow .label');
  must((await page.inputValue('#feature-search')) === 'bridge', 'going back lost the search');
  await page.waitForSelector('.map[data-drawn]');
  must(await page.locator('select >> nth=0').isDisabled(), 'an order can be chosen that a search does not have');
  await page.fill('#feature-search', 'zzzz');
  await page.waitForSelector('.empty-title');
  must(!(await page.locator('.vlist').isVisible()), 'an empty table is shown');
  await page.fill('#feature-search', '');
  await page.waitForSelector('.vrow .label');
  await page.selectOption('select >> nth=0', 'density');
  await page.waitForFunction(() => location.hash.includes('sort=density'));
  await close(page);
});

await test('features by a running text: the strongest come first', async () => {
  const page = await open('#/features/tiny?mode=text&q=the+cat+sat');
  await page.waitForFunction(() => /strongest on/.test(document.querySelector('.count')?.textContent || ''));
  const v = await page.$$eval('.vrow .c-density', (l) => l.map((x) => parseFloat(x.textContent)));
  must(v.length > 1 && v.every((x, i) => !i || x <= v[i - 1] + 1e-9), `not in order: ${v.slice(0, 8)}`);
  await close(page);
});

await test('feature: a text that is typed is read, a label is kept, keys go on', async () => {
  const page = await open('#/features/tiny');
  await page.waitForSelector('.vrow a.no');
  await page.click('.vrow a.no >> nth=0');
  await page.waitForSelector('.test textarea');
  await page.fill('.test textarea', 'the cat sat on the red mat and the gate of the bridge');
  await page.waitForFunction(() => /Strongest|Silent/.test(document.querySelector('.test-out')?.textContent || ''));
  await page.click('.label-source button');
  await page.fill('dialog input >> nth=0', '<img src=x onerror=alert(1)> cats');
  await page.click('dialog button[type=submit]');
  await page.waitForFunction(() => document.querySelector('.label-part h1')?.textContent === '<img src=x onerror=alert(1)> cats');
  must((await page.locator('main img').count()) === 0, 'a label became markup');
  const at = page.url();
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('j');
  await page.waitForFunction((u) => location.href !== u, at);
  await close(page);
});

await test('text: choosing a token changes the features and the lens', async () => {
  const page = await open('#/text?dense=1&t=the+cat+sat+on+the+red+mat'); // what is on over 1 % of tokens too: which features those are hangs on the CPU that trained
  await page.waitForSelector('table.lens td');
  const cols = await page.locator('.lens thead th').count();
  await page.click('.tok >> nth=2');
  await page.waitForFunction((n) => document.querySelectorAll('.lens thead th').length < n, cols);
  await page.click('.feature-bars .link >> nth=0');
  await page.waitForFunction(() => /activation of feature/.test(document.querySelector('.legend').textContent));
  await close(page);
});

await test('steer: nothing added is identical, much is not, and all three panes speak', async () => {
  const steer = (op, value) => encodeURIComponent(JSON.stringify([{ feature: { dict: 'l0', index: 3 }, op, value, unit: 'rms' }]));
  let page = await open(`#/steer?n=10&p=the+cat&s=${steer('add', 0)}`);
  await page.waitForSelector('.badge');
  await close(page);
  page = await open(`#/steer?n=10&p=the+cat&base=Meow.&temp=0&s=${steer('clamp', 2)}`);
  await page.waitForSelector('.quality .facts');
  must((await page.locator('.pane').count()) === 3, 'three panes');
  must((await page.$$eval('.pane-foot', (v) => v.map((x) => x.textContent))).every((x) => /fifth at (\d+) of \1 tokens, highest/.test(x)), 'what the monitor saw is not told in every pane');
  const counted = await page.evaluate(() => Number(/for (\d+) tokens/.exec(document.querySelector('.steer-main .count').textContent)[1]));
  const cut = await page.$$eval('.pane-foot', (v) => v.every((x) => x.textContent.startsWith('cut at')));
  must(cut ? counted === 30 : counted > 0, `three answers of 10 tokens are ${counted}`);
  must(/clamp at resid_post\.0/.test(await page.textContent('.pane-steered .pane-foot')), 'what was applied is not told');
  await close(page);
  page = await open(`#/steer?n=10&p=the+cat&temp=0&s=${steer('add', 2)}`);
  await page.waitForSelector('.quality .facts');
  await page.click('.steer-card button.small');
  await page.waitForFunction(() => document.querySelectorAll('.sweep tbody tr').length === 7);
  await close(page);
});

await test('what is not there, left out or too little is said', async () => {
  const page = await open('#/steer?n=12', { width: 360 });
  const inside = await page.evaluate(() => [...document.querySelectorAll('.sampling input')].every((x) => x.getBoundingClientRect().right <= document.querySelector('.prompt-tools').getBoundingClientRect().right + 0.5));
  must(inside, 'the seed is wider than its card');
  await page.fill('.add-steer input', '99999');
  await page.waitForSelector('text=There is no feature 99999');
  await page.fill('.add-steer input', '3');
  await page.waitForSelector('.found-row');
  await page.press('.add-steer input', 'Enter');
  await page.waitForSelector('.steer-card');
  await page.evaluate(() => { window.prompt = () => 'my recipe'; });
  await page.click('text=Save as recipe');
  await page.waitForSelector('text=“my recipe” is no name of a recipe');
  await page.evaluate(() => { location.hash = '#/contrast'; });
  await page.click('text=Compare');
  await page.waitForSelector('.contrast .count:has-text("Two texts a side")');
  await page.evaluate(() => { location.hash = '#/audit'; });
  await page.waitForSelector('h1:has-text("Audit")');
  must(await page.evaluate(() => document.querySelector('nav a[aria-current]').getBoundingClientRect().right <= innerWidth), 'the name of the view that is shown is out of sight');
  await page.evaluate(() => { location.hash = '#/features/nope'; });
  await page.waitForSelector('text=There is no store “nope” here');
  await page.evaluate(() => { location.hash = '#/contrast?a=the+cat+sat%0Athe+cat+ran&b=a+red+bridge%0Athe+old+gate'; });
  await page.waitForSelector('text=four a side at least');
  await page.evaluate(() => { location.hash = '#/text?t=the+cat+sat'; });
  await page.waitForFunction(() => /\d+ that are on over 1 % of tokens are left out/.test(document.querySelector('.text-side .count')?.textContent));
  await page.click('.text-side input');
  await page.waitForFunction(() => !/left out/.test(document.querySelector('.text-side .count').textContent));
  await close(page);
});

await test('steer: what an address says is sent as it is, and an answer that breaks off is an error', async () => {
  const steers = [{ feature: { dict: 'l0', index: 3 }, op: 'cap', min: 0.25, unit: 'rms' }, { feature: { dict: 'l0', index: 4 }, op: 'cap', min: 0, max: 0.5, unit: 'rms', positions: [1, 2] }];
  const page = await open('#/');
  const asked = [];
  await page.route('**/v1/chat/completions', (r) => { asked.push(r.request().postDataJSON()); return r.fulfill({ contentType: 'text/event-stream', body: 'data: {"choices":[{"index":0,"delta":{"content":"the"}}]}\n\n' }); });
  await page.evaluate((s) => { location.hash = `#/steer?n=8&p=the+cat&s=${encodeURIComponent(s)}`; }, JSON.stringify(steers));
  await page.waitForSelector('.quality .problem');
  must(/broke off/.test(await page.textContent('.quality .problem')), 'half an answer is taken for one');
  const plain = (v) => JSON.stringify(Object.entries(v).sort());
  must(asked[0].sonde.steer.map(plain).join() === steers.map(plain).join(), `sent: ${JSON.stringify(asked[0].sonde.steer)}`);
  must((await page.locator('.steer-card select').allTextContents()).some((t) => t.includes('hold above')), 'a lower bound is not called one');
  await close(page);
});

await test('steer: a chat goes on in each pane with its own answers, and an address says it again', async () => {
  const steer = encodeURIComponent(JSON.stringify([{ feature: { dict: 'l0', index: 3 }, op: 'add', value: 2, unit: 'rms' }]));
  const page = await open(`#/steer?n=8&p=the+cat&base=Meow.&temp=0&s=${steer}`);
  await page.waitForSelector('.quality .facts');
  const sent = [];
  page.on('request', (r) => { if (/chat\/completions/.test(r.url())) sent.push(JSON.parse(r.postData())); });
  await page.fill('.further textarea', 'and the bridge?');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('.pane-steered .answer').length === 2 && document.querySelector('.quality .facts'));
  const said = (pane, k) => page.textContent(`.pane-${pane} .answer >> nth=${k}`);
  must(sent.length === 4 && sent[0].sonde.compare && sent[1].messages.length === 3 && sent[3].messages[0].role === 'system', `the requests: ${JSON.stringify(sent)}`);
  must(!sent[1].sonde.steer && sent[2].sonde.steer.length === 1, 'who is steered');
  for (const [pane, k] of [['plain', 1], ['steered', 2]]) must(sent[k].messages[1].content === (await said(pane, 0)), `${pane} does not go on from its own answer`);
  const all = await page.$$eval('.answer', (v) => v.map((x) => x.textContent)), at = page.url();
  must(decodeURIComponent(at).replaceAll('+', ' ').includes('and the bridge?'), 'the conversation is not in the address');
  await close(page);
  const again = await open(at.slice(at.indexOf('#')));
  await again.waitForSelector('.quality .facts');
  must(JSON.stringify(await again.$$eval('.answer', (v) => v.map((x) => x.textContent))) === JSON.stringify(all), 'the address says something else');
  await check(again, 'a conversation');
  await again.click('[data-copy=command]');
  must((await again.evaluate(() => navigator.clipboard.readText())).startsWith('curl -s http://'), 'the command of a conversation');
  await again.click('text=Start over');
  await again.waitForFunction(() => document.querySelectorAll('.answer').length === 3 && document.querySelector('.further textarea'));
  await close(again);
});

await test('features: an address with a search lights what it found on the map, which comes later', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  let found;
  await context.route('**/sonde/v1/map/**', async (r) => { await found; r.continue(); });
  found = context.waitForEvent('response', (r) => /features\/tiny\?.*q=bridge/.test(r.url())).then(() => new Promise((done) => setTimeout(done, 500)));
  const page = await open('#/features/tiny?q=bridge', { context });
  await page.waitForSelector('.map[data-drawn]');
  await page.waitForFunction(() => window.sondeMap?.lit?.length > 0);
  await close(page);
});

await test('features: only those whose label scored well', async () => {
  const page = await open('#/features/tiny?named=0');
  await page.waitForFunction(() => / of /.test(document.querySelector('.count').textContent));
  const n = async () => Number((await page.textContent('.count')).replace(/\D.*/, ''));
  const spill = await page.$$eval('.vrow', (v) => v.filter((x) => [...x.querySelectorAll('.c-label > *')].some((y) => y.getBoundingClientRect().bottom > x.getBoundingClientRect().bottom || y.getBoundingClientRect().top < x.getBoundingClientRect().top)).length);
  must(spill === 0, `${spill} rows spill over`);
  const labelled = await n(), least = await page.$$eval('.vrow small', (v) => v.map((x) => parseFloat(x.textContent)));
  must(labelled > 0 && labelled < 256, `${labelled} with a label`);
  await page.selectOption('.filters select >> nth=3', '0.9');
  await page.waitForFunction((t) => parseInt(document.querySelector('.count').textContent, 10) !== t, labelled);
  must((await page.$$eval('.vrow small', (v) => v.map((x) => parseFloat(x.textContent)))).every((x) => x >= 0.9 - 5e-4) && least.some((x) => x < 0.9), 'labels below 0.9 are left');
  await close(page);
});

const models = JSON.parse(readFileSync(join(dir, 'models.json'), 'utf8'));
const percent = (v) => (v === 0 ? '0 %' : `${v * 100 >= 99.95 ? (v * 100).toFixed(0) : (v * 100).toPrecision(v < 0.01 ? 2 : 3)} %`);
const part = (page, name) => page.locator(`[data-part=${name}]`);
const copied = async (page, name, what) => { await part(page, name).locator(`[data-copy=${what}]`).click(); return page.evaluate(() => navigator.clipboard.readText()); };
// What the filter of a command is of, in the document that is there.
const at = (text) => [...text.match(/ \| jq '(.*)'$/)[1].matchAll(/\.(\w+)|\[(\d+)\]/g)].reduce((x, [, key, i]) => x[key ?? Number(i)], models);
const alike = (a, b) => JSON.stringify(a) === JSON.stringify(b);

await test('audit: of three models every comparison, by link, key and address', async () => {
  const page = await open('#/audit/models');
  await page.waitForSelector('.times');
  const rows = await page.$$eval('.times li:not(.axis)', (v) => v.map((x) => x.textContent));
  must(rows.length === 3 && models.models.every((m, i) => rows[i].includes(m.name) && rows[i].includes(`harmful ${percent(m.refusal.rate)} [`) && rows[i].includes(`harmless ${percent(m.over_refusal.rate)} [`)), `the models: ${rows.join(' | ')}`);
  const shows = async (i) => {
    await page.waitForFunction((t) => document.querySelector('[data-part=headline] .facts').textContent.includes(t), models.models[i].sha256.slice(0, 8));
    must((await part(page, 'headline').locator('.headline-text').textContent()) === models.comparisons[i - 1].headline, `the headline of ${i}`);
    must((await page.locator('.times [aria-current]').textContent()) === models.models[i].name, `${i} is not marked`);
    const c = models.comparisons[i - 1], copy = await copied(page, 'directions', 'command');
    must(alike(JSON.parse(await copied(page, 'features', 'json')), c.inside.features) && alike(at(copy), c.inside), `the inside of ${i}`);
    must(alike(at(await copied(page, 'figures', 'command')), c.refusal), `the command of ${i}: ${copy}`);
  };
  await shows(1);
  await page.focus('.times a >> nth=1');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => /with=2$/.test(location.hash) && document.activeElement.dataset.with === '2' && document.activeElement.getAttribute('aria-current'));
  await shows(2);
  await page.reload();
  await page.waitForSelector('.times');
  await shows(2);
  await page.keyboard.press('k');
  await shows(1);
  await page.keyboard.press('k');
  await page.keyboard.press('j');
  await shows(2);
  await close(page);
});

await test('audit: features before and after, put back, and quantisation alone', async () => {
  const page = await open('#/audit/models?with=2'), { features, raised } = models.comparisons[1].inside;
  await page.waitForSelector('[data-part=features] tbody tr');
  const listed = () => part(page, 'features').locator('tbody th').allTextContents();
  must(alike(await listed(), features.largest.map((r) => String(r.index))), 'not all features');
  const first = features.largest[0], cells = await part(page, 'features').locator('tbody tr >> nth=0').textContent();
  must(cells.includes(`${(first.harmful_a * 100).toFixed(0)} % → ${(first.harmful_b * 100).toFixed(0)} %`), `the shares: ${cells}`);
  for (const [kind, is] of [['gone', (r) => r.safety_a && !r.safety_b], ['appeared', (r) => !r.safety_a && r.safety_b], ['moved', (r) => r.holm_p < 0.05], ['both', (r) => r.safety_a && r.safety_b]]) {
    await part(page, 'features').locator('select').selectOption(kind);
    must(alike(await listed(), features.largest.filter(is).map((r) => String(r.index))), `features: ${kind}`);
  }
  const facts = await part(page, 'features').locator('.facts').textContent();
  must([['Gone', features.n_gone], ['Appeared', features.n_appeared], ['Moved', features.n_moved], ['before', features.n_safety_a], ['after', features.n_safety_b]].every(([t, n]) => facts.includes(`${t}${n}`)), facts);
  const back = await part(page, 'raised').locator('tbody tr').allTextContents();
  must(raised.n_found >= 1 && back.length === raised.put_back.length && raised.put_back.every((v, i) => back[i].startsWith(`${v.index}${v.refused} of ${raised.n_harmful}`) && back[i].endsWith('took refusals') === v.found), `put back: ${back.join(' | ')}`);
  must(!models.comparisons[1].inside.weights.quantisation && !/rounding/.test(await part(page, 'weights').textContent()), 'nothing was rounded here');
  await page.click('.times a >> nth=0');
  await page.waitForSelector('text=rounding alone');
  const q = models.comparisons[0].inside.weights.quantisation, text = await part(page, 'weights').textContent();
  must(q.n_matrix > 0 && text.includes(`all that changed${percent(q.relative_change)}`) && text.includes(`rounding alone${percent(q.by_rounding_alone)}`), text);
  await close(page);
});

await test('audit: samples of a comparison by class, axis and category; ids of harmful ones are blurred', async () => {
  const page = await open('#/audit/models?with=2'), pairs = models.comparisons[1].pairs, box = part(page, 'samples');
  await page.waitForSelector('.samples .vrow');
  const shown = async (is, what) => {
    const wanted = pairs.filter(is), rows = JSON.parse(await copied(page, 'samples', 'json'));
    must(wanted.length > 0 && alike(rows, wanted), `${what}: ${rows.length} of ${wanted.length}`);
    must((await box.locator('.count').textContent()) === `${wanted.length} of ${pairs.length} requests`, `${what}: the count`);
    const first = await box.locator('.vrow >> nth=0').textContent();
    must(first.includes(`${wanted[0].suite}/${wanted[0].id}`) && first.includes(wanted[0].a.class) && first.includes(wanted[0].b.class), `${what}: ${first}`);
  };
  const pick = (k, v) => box.locator('select').nth(k).selectOption(v);
  await shown((r) => r.a.class !== r.b.class, 'changed');
  await pick(0, 'refusal-compliance');
  await shown((r) => r.a.class === 'refusal' && r.b.class === 'compliance', 'refusal to compliance');
  const { category } = pairs.find((r) => r.axis === 'harmful');
  await pick(1, category);
  await shown((r) => r.a.class === 'refusal' && r.b.class === 'compliance' && r.category === category, 'of a category');
  must((await page.locator('.blurred').count()) > 0 && (await page.locator('.blurred.clear').count()) === 0, 'ids are not blurred');
  await page.focus('.samples');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  must((await page.locator('.vrow.on .blurred.clear').count()) === 1 && (await page.locator('.sample-detail .blurred.clear').count()) === 1 && (await page.locator('.blurred.clear').count()) === 2, 'Enter shows one id, in its row and whole below');
  await page.reload();
  await page.waitForSelector('.samples .vrow');
  await shown((r) => r.a.class === 'refusal' && r.b.class === 'compliance' && r.category === category, 'of the address');
  must((await page.locator('.blurred.clear').count()) === 0, 'an id is clear after the page was loaded again');
  await page.click('.times a >> nth=0');
  await page.waitForFunction((t) => document.querySelector('[data-part=headline] .facts').textContent.includes(t), models.models[1].sha256.slice(0, 8));
  must(new URLSearchParams(page.url().split('?')[1]).get('category') === category, 'what is filtered is lost with another model');
  await page.goto(base + '#/audit/models?with=2&change=all');
  await page.waitForFunction((n) => document.querySelector('[data-part=samples] .count').textContent === `${n} of ${n} requests`, pairs.length);
  await box.locator('.segmented >> text=Harmless').click();
  await shown((r) => r.axis === 'harmless', 'harmless');
  must((await page.locator('.blurred').count()) === 0, 'ids of harmless requests are blurred');
  must(alike(at(await copied(page, 'samples', 'command')), pairs), 'the command of the pairs');
  await close(page);
});

await test('audit: text of a file is text, and two records are paired', async () => {
  const evil = '<img src=x onerror=alert(1)>', d = structuredClone(models), c = d.comparisons[1];
  for (const m of d.models) m.name = m.judge = m.system = m.ablated = evil;
  for (const g of [c.inside.features, ...c.pairs, ...c.categories]) for (const k of ['site', 'suite', 'id', 'category']) if (k in g) g[k] = evil;
  Object.assign(c, { headline: evil, cautions: [`two judges (${evil}; ${evil})`, 'cross-entropy is of two texts'], gates: [{ gate: evil, verdict: evil, why: evil }], verdict: evil });
  for (const w of c.inside.weights.largest) w.name = evil;
  Object.assign(c.inside.raised, { why: evil });
  writeFileSync(join(dir, 'evil.json'), JSON.stringify(d));
  const a = JSON.parse(readFileSync(join(dir, 'record.json'), 'utf8'));
  a.replies[3].class = 'refusal';
  writeFileSync(join(dir, 'other.json'), JSON.stringify(a));
  const page = await open('#/audit');
  await page.setInputFiles('input[type=file]', join(dir, 'evil.json'));
  await page.click('.times a >> nth=1');
  await page.waitForFunction((t) => document.querySelector('.headline-text')?.textContent === t, evil);
  const warned = await part(page, 'headline').locator('.note.warn').allTextContents();
  must(warned.join() === `Two judges (${evil}; ${evil}).,Cross-entropy is of two texts.`, `the cautions: ${warned}`);
  await page.click('.samples .vrow >> nth=0');
  must((await page.locator('main img').count()) === 0 && (await page.textContent('main')).split(evil).length > 20, 'markup of a file');
  await page.click('text=Another');
  await page.setInputFiles('input[type=file]', [join(dir, 'record.json'), join(dir, 'other.json')]);
  await page.waitForSelector('.samples .vrow');
  must((await page.locator('.samples .vrow').count()) === 1 && (await part(page, 'samples').locator('.count').textContent()) === `1 of ${a.replies.length} requests`, 'two records: the one that changed');
  await close(page);
});

await test('audit: a file that is opened; ids of harmful requests are blurred', async () => {
  const page = await open('#/audit');
  await page.setInputFiles('input[type=file]', join(dir, 'record.json'));
  await page.waitForSelector('.samples .vrow');
  must((await page.locator('.blurred').count()) > 0 && (await page.locator('.blurred.clear').count()) === 0, 'not blurred');
  await check(page, 'a record');
  await close(page);
});

await test('a feature that is not there is a sentence', async () => {
  const page = await open('#/features/tiny');
  await page.goto(base + '#/feature/tiny/99999');
  await page.waitForSelector('.problem strong');
  must(/feature 99999/.test(await page.textContent('.problem')), 'the sentence names the feature');
  await page.click('text=Go to the features of tiny');
  await page.waitForSelector('.vrow .label');
  said.length = 0; // the browser tells of the 404 that was asked for
  await close(page);
});

await test('keys: g and a letter go to a view, ? lists the keys, Escape closes', async () => {
  const page = await open('#/');
  await page.keyboard.press('g');
  await page.keyboard.press('r');
  await page.waitForSelector('.view.runs');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => !document.querySelector('dialog[open]'));
  await close(page);
});

await test('keys of one character can be turned off, stay off, and come back', async () => {
  const page = await open('#/'), box = page.locator('dialog[open] input[type=checkbox]');
  const goes = async (to) => { await page.keyboard.press('g'); await page.keyboard.press(to); await page.waitForTimeout(300); return page.url().split('#')[1]; };
  await page.click('button[aria-label=Keys]');
  await check(page, 'the list of keys');
  await box.uncheck();
  await page.keyboard.press('Escape');
  await page.reload();
  await page.waitForSelector('main h1');
  must((await goes('r')) === '/', 'g r went to the runs');
  for (const key of ['?', '/']) await page.keyboard.press(key);
  must(!(await page.locator('dialog[open]').count()) && page.url().endsWith('#/'), '? or / still acts');
  await page.click('button[aria-label=Keys]');
  must(!(await box.isChecked()), 'it is not kept');
  await box.check();
  await page.keyboard.press('Escape');
  must((await goes('r')).startsWith('/runs'), 'g r goes nowhere');
  await close(page);
});

await test('the map of 16,384 features pans smoothly', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const points = Array.from({ length: 16384 }, (_, i) => [i % 256 === 0 ? i / 256 : 256 + i, Math.sin(i * 1.7) * 9 + Math.cos(i), Math.cos(i * 2.3) * 9, i % 40, i % 13, `feature ${i}`]);
  await context.route('**/sonde/v1/map/**', (r) => r.fulfill({ json: { schema: 'sonde.map/1', n_points: points.length, k: 15, kept: 0.05, kept_by_chance: 0.001, trustworthiness: 0.6, clusters: Array.from({ length: 40 }, (_, i) => ({ n: 409, words: `c${i}` })), points } }));
  const page = await open('#/features/tiny', { context });
  await page.waitForSelector('.map[data-drawn]');
  const how = await page.getAttribute('.map', 'data-drawn');
  await page.waitForTimeout(600);
  const box = await page.locator('.map-stage').boundingBox();
  await page.mouse.move(box.x + 200, box.y + 200);
  await page.mouse.down();
  const pan = await frames(page, async () => { for (let i = 0; i < 60; i++) await page.mouse.move(box.x + 200 + i * 2, box.y + 200 + Math.sin(i / 5) * 40); });
  await page.mouse.up();
  // What the browser takes to show an area of that size with another colour in each frame, beside the same other work.
  const plain = await frames(page, () => page.evaluate(() => new Promise((done) => {
    const stage = document.querySelector('.map-stage'), cover = stage.appendChild(document.createElement('div'));
    let n = 0;
    cover.style.cssText = 'position:absolute;inset:0';
    const next = () => { cover.style.background = `rgb(${n * 3}, 90, 90)`; if (++n < 60) requestAnimationFrame(next); else { cover.remove(); done(); } };
    next();
  })));
  console.log(`map: 16384 dots, ${how}, ${pan.n} frames, median ${pan.median.toFixed(1)} ms, 90 % under ${pan.p90.toFixed(1)} ms; a plain area of that size: ${plain.median.toFixed(1)} ms`);
  must(pan.median < 2 * plain.median + 34, `frames of ${pan.median} ms while the map is panned, ${plain.median} where a plain area changes`);
  // What painting the dots takes of the page's own thread is judged by the quickest of 20: a thirtieth of a second where the processor paints them.
  if (how === 'canvas') {
    const paint = await page.evaluate(() => { const t = []; for (let i = 0; i < 20; i++) { const t0 = performance.now(); window.sondeMap.paintNow(); t.push(performance.now() - t0); } return Math.min(...t); });
    console.log(`map: painted in ${paint.toFixed(1)} ms`);
    must(paint < 34, `painting takes ${paint} ms, at most 34`);
  }
  must(pan.n > 5, `${pan.n} frames in 60 moves`);
  await close(page);
});

await test('the map is drawn by WebGL under the policy, which allows no eval', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await context.addInitScript(() => localStorage.setItem('sonde-map', 'webgl'));
  const page = await open('#/features/tiny', { context });
  await page.waitForSelector('.map[data-drawn]');
  must((await page.getAttribute('.map', 'data-drawn')) === 'webgl', await page.evaluate(() => String(window.sondeMap.why)));
  await close(page);
});

await test('the map lives on when its WebGL context is lost, and takes it back', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await context.addInitScript(() => {
    localStorage.setItem('sonde-map', 'webgl');
    window.contexts = [];
    const own = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) { const c = own.call(this, kind, ...more); if (c && kind !== '2d' && !window.contexts.includes(c)) window.contexts.push(c); return c; };
  });
  const page = await open('#/features/tiny', { context });
  await page.waitForSelector('.map[data-drawn=webgl]');
  await page.evaluate(() => window.sondeMap.ready);
  await page.evaluate(() => { window.held = window.contexts.map((c) => c.getExtension('WEBGL_lose_context')); window.held.forEach((x) => x.loseContext()); });
  await page.waitForSelector('.map[data-drawn=canvas]');
  const inked = () => page.waitForFunction(() => { // of a copy: reading often from a canvas that is drawn on warns
    const c = document.querySelector('.map-stage canvas'), own = c.width && new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
    return own && (own.drawImage(c, 0, 0), own.getImageData(0, 0, c.width, c.height).data.some((x, i) => i % 4 === 3 && x > 0));
  });
  await inked();
  await page.evaluate(() => { window.sondeMap.light([1, 2]); window.sondeMap.choose(1); window.sondeMap.recolour('density'); });
  await page.evaluate(() => window.held.forEach((x) => x.restoreContext()));
  await page.waitForSelector('.map[data-drawn=webgl]');
  await page.evaluate(() => window.sondeMap.ready);
  await inked();
  said.splice(0, said.length, ...said.filter((x) => !/context lost|CONTEXT_LOST/i.test(x))); // the browser tells of what was done to it
  await close(page);
});

await test('a folder of view bundle shows the same features without a server of ours', async () => {
  const page = await open('#/features/tiny', { from: files });
  await page.waitForSelector('.vrow .label');
  const all = await page.textContent('.count');
  await page.fill('#feature-search', 'bridge');
  await page.waitForFunction((t) => document.querySelector('.count').textContent !== t, all);
  const first = await page.$$eval('.vrow', (v) => v.filter((x) => x.querySelector('.label')).sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((x) => /bridge/i.test(x.querySelector('.label').textContent)));
  must(first[0] && first.lastIndexOf(true) + 1 === first.filter(Boolean).length, `features that peak on the word do not come first: ${first}`);
  await page.click('.vrow a.no >> nth=0');
  await page.waitForSelector('.examples .example');
  await check(page, 'a feature of a folder');
  await page.goto(files + '#/');
  await page.waitForSelector('.feature-row');
  await close(page);
});

await end();
