"use strict";

// Shows how the requests go on: fetches the list again until nothing is unfinished.
// Without JavaScript the page says the same after a reload.
(() => {
  const list = document.getElementById("requests");
  const unfinished = '[data-state="queued"], [data-state="running"]';

  async function refresh() {
    if (list.querySelector(unfinished)) {
      const response = await fetch(list.dataset.url).catch(() => null);
      const html = response && response.ok ? await response.text() : list.innerHTML;
      if (html !== list.innerHTML) {
        list.innerHTML = html;
      }
    }
    setTimeout(refresh, 1000);
  }

  refresh();
})();
