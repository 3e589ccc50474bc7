// What the theme leaves out for readers who hear the pages, or who want to see more of a figure.
window.addEventListener("load", () => {
  const all = (selector) => document.querySelectorAll(selector);
  // A control is called what is written on it.
  all("summary[aria-label], .search-button-field").forEach((control) => control.removeAttribute("aria-label"));
  all(".theme-switch-button > *").forEach((icon) => icon.setAttribute("aria-hidden", "true"));
  // A click on a figure, or the return key, shows it alone.
  all("figure > img").forEach((image) => {
    const link = Object.assign(document.createElement("a"), { href: image.src, className: "enlarged" });
    image.replaceWith(link);
    link.append(image);
  });
});
