import { h } from './dom.js';
export async function show() { return { title: 'audit', el: h('div.view', h('h1', 'audit')) }; }
