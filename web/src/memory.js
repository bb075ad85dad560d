// What this browser keeps for the page. Where it keeps nothing (it may refuse as it refuses cookies) or something else, nothing is remembered and the rest works.
const tried = (fn) => { try { return fn(); } catch { return null; } };
export const remembered = (key, area = 'localStorage') => tried(() => window[area].getItem(key));
export const remember = (key, value, area = 'localStorage') => tried(() => window[area].setItem(key, value));
export const rememberedObject = (key) => tried(() => JSON.parse(remembered(key)));
