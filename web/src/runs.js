import { h } from './dom.js';
export async function show() { return { title: 'runs', el: h('div.view', h('h1', 'runs')) }; }
