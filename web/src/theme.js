// Colours of charts, read from the style so that light and dark are decided in one place.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
