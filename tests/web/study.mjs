// study.mjs BROWSER URL FEATURE [SHOTS]: every view of the page on a real model and its store; FEATURE is looked at and steered.
import { join } from 'node:path';
import { WIDTHS, check, close, end, frames, must, open, test } from './browse.mjs';
const [, , , , feature, shots] = process.argv;

const steer = encodeURIComponent(JSON.stringify([{ feature: { dict: 'l14', index: Number(feature) }, op: 'add', value: 0.5, unit: 'rms' }]));
const line = encodeURIComponent('The Golden Gate Bridge was opened in 1937. In 1948 the Universal Declaration of Human Rights was proclaimed [1].');
const VIEWS = [
  ['home', '#/', async (p) => { await p.waitForSelector('.feature-row'); }],
  ['features', '#/features/smollm2', async (p) => { await p.waitForSelector('.vrow .label, .map-stage'); }],
  ['search', '#/features/smollm2?q=golden+gate+bridge', async (p) => { await p.waitForSelector('.vrow .label, .map-stage'); }],
  ['by-text', '#/features/smollm2?mode=text&q=the+Golden+Gate+Bridge', async (p) => { await p.waitForFunction(() => /strongest on/.test(document.querySelector('.count')?.textContent || '')); }],
  ['feature', `#/feature/smollm2/${feature}`, async (p) => { await p.waitForSelector('.examples h2'); }],
  ['text', `#/text?t=${line}`, async (p) => { await p.waitForSelector('table.lens td'); await p.waitForSelector('.feature-bars li, .text-side .soft'); }],
  ['contrast', '#/contrast?a=The+bridge+is+red%0AThe+tower+is+tall&b=The+cell+divides%0AThe+gene+is+read', async (p) => { await p.waitForSelector('.contrast table.plain td.n'); }],
  ['steer', `#/steer?n=24&p=Who+are+you%3F&temp=0&base=You+are+the+Golden+Gate+Bridge.&s=${steer}`, async (p) => { await p.waitForSelector('.quality .facts'); }],
  ['recipe', '#/steer?recipe=more&n=12&p=Who+are+you%3F', async (p) => { await p.waitForSelector('.quality .card, .quality .badge, .quality p'); }],
  ['runs', '#/runs/dict', async (p) => { await p.waitForSelector('.run-card canvas'); }],
  ['audit', '#/audit/change', async (p) => { await p.waitForSelector('.forest'); }],
];
for (const [width, height] of WIDTHS)
  for (const [name, hash, ready] of VIEWS) {
    const colorScheme = width === 820 ? 'dark' : 'light';
    await test(`${name} at ${width} px, ${colorScheme}: no error, nothing off the origin, axe finds nothing serious`, async () => {
      const page = await open(hash, { width, height, colorScheme });
      await ready(page);
      await check(page, name);
      if (shots) await page.screenshot({ path: join(shots, `study-${name}-${width}.png`) });
      await close(page);
    });
  }

await test('clicks: a search, the first feature found, a text of one\'s own, its neighbour, back', async () => {
  const page = await open('#/features/smollm2');
  await page.waitForSelector('.vrow .label');
  const before = await page.textContent('.count');
  await page.fill('#feature-search', 'golden gate bridge');
  await page.waitForFunction((t) => document.querySelector('.count').textContent !== t, before);
  await page.click('.vrow a.no >> nth=0');
  await page.waitForSelector('.test textarea');
  await page.fill('.test textarea', 'We walked over the Golden Gate Bridge to Marin County.');
  await page.waitForFunction(() => /Strongest|Silent/.test(document.querySelector('.test-out')?.textContent || ''));
  const at = page.url();
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('j');
  await page.waitForFunction((u) => location.href !== u, at);
  await page.goBack();
  await page.waitForFunction((u) => location.href === u, at);
  await close(page);
});

await test('the map of the store pans', async () => {
  const page = await open('#/features/smollm2');
  await page.waitForSelector('.map[data-drawn]');
  const how = await page.getAttribute('.map', 'data-drawn');
  await page.waitForTimeout(600);
  const box = await page.locator('.map-stage').boundingBox();
  await page.mouse.move(box.x + 200, box.y + 200);
  await page.mouse.down();
  const pan = await frames(page, async () => { for (let i = 0; i < 60; i++) await page.mouse.move(box.x + 200 + i * 2, box.y + 200 + Math.sin(i / 5) * 40); });
  await page.mouse.up();
  const n = await page.evaluate(async () => (await (await fetch('/sonde/v1/map/smollm2')).json()).points.length);
  const paint = how === 'canvas' ? await page.evaluate(() => { const t = []; for (let i = 0; i < 20; i++) { const t0 = performance.now(); window.sondeMap.paintNow(); t.push(performance.now() - t0); } return Math.min(...t); }) : 0;
  console.log(`map: ${n} dots, ${how}, ${pan.n} frames, median ${pan.median.toFixed(1)} ms, 90 % under ${pan.p90.toFixed(1)} ms${how === 'canvas' ? `, painted in ${paint.toFixed(1)} ms` : ''}`);
  must(paint < 34, `painting takes ${paint} ms, at most 34`); // as in page.mjs
  must(pan.n > 5, `${pan.n} frames in 60 moves`);
  await close(page);
});

await end();
