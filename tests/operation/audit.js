// Looks at a page as people with little sight, a small screen or a screen reader would; leaves what it finds
// wrong in the document's title.
(() => {
  const wrong = [];
  const channels = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z; // WCAG 2.2, relative luminance
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  for (const element of document.body.querySelectorAll(":not(svg *)")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || element.tagName === "SCRIPT" || element.closest(".hidden")) continue;
    const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(1)}: ${element.textContent.trim().slice(0, 30)}`);
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) wrong.push("scrolls sideways");
  const levels = [...document.querySelectorAll("h1, h2, h3")].map((heading) => Number(heading.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) wrong.push("not one h1");
  if (levels.some((level, place) => place && level > levels[place - 1] + 1)) wrong.push("a heading level is left out");
  for (const landmark of ["header", "main", "footer"]) {
    if (document.querySelectorAll(`body > ${landmark}`).length !== 1) wrong.push(`not one ${landmark}`);
  }
  document.querySelectorAll("table").forEach((table) => {
    if (!table.caption?.textContent.trim()) wrong.push("a table without a caption");
    if (!table.querySelector("th[scope]")) wrong.push("a table without headers");
  });
  for (const element of document.querySelectorAll("[aria-labelledby]")) {
    for (const id of element.getAttribute("aria-labelledby").split(" ")) {
      if (!document.getElementById(id)?.textContent.trim()) wrong.push(`nothing has the id ${id}`);
    }
  }
  for (const svg of document.querySelectorAll("svg")) {
    if (svg.getAttribute("aria-hidden") !== "true" && !svg.getAttribute("aria-labelledby")) wrong.push("a drawing without words");
  }
  for (const region of document.querySelectorAll("main .scroll")) {
    if (region.tabIndex !== 0) wrong.push("a region that keys cannot scroll");
  }
  document.title = JSON.stringify(wrong);
})();
