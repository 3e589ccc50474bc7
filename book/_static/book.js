// What the theme leaves out for readers who hear the pages, or who want to see more of a figure.
const all = (selector, change) => document.querySelectorAll(selector).forEach(change);

// A page that was opened from a disk may not read others: the search then lists pages without a part of their text.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Icons are drawn before or after the page has loaded; on the button that has a name of its own they need none.
const hideIcons = () =>
  all(".theme-switch-button > *", (icon) => {
    icon.setAttribute("aria-hidden", "true");
    icon.removeAttribute("title");
    icon.querySelector("title")?.remove();
  });
document.addEventListener("DOMContentLoaded", hideIcons);
window.addEventListener("load", () => {
  hideIcons();
  // A control is called what is written on it.
  all("summary[aria-label], .search-button-field", (control) => control.removeAttribute("aria-label"));
  // What has only a place, on the left of a page, is called something.
  all("#pst-primary-sidebar", (side) => {
    side.setAttribute("role", "navigation");
    side.setAttribute("aria-label", "Book");
  });
  // The empty corner of a table heads nothing.
  all("th", (cell) => cell.textContent.trim() || cell.setAttribute("role", "cell"));
  // The bibliography is a list of items.
  all("[role=doc-biblioentry]", (entry) => entry.setAttribute("role", "listitem"));
  // A click on a figure, or the return key, shows it alone.
  all("figure > img", (image) => {
    const link = Object.assign(document.createElement("a"), { href: image.src, className: "enlarged" });
    image.replaceWith(link);
    link.append(image);
  });
});
