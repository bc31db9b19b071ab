// All pages work without this. With it there is a button that prints, and a page that the browser had kept is asked for anew.
"use strict";
for (const button of document.querySelectorAll("button.print")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload();
});
