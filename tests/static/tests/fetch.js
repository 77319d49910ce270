"use strict";

// Sends the form in a way of its own, and tells how often.
document.getElementById("fetch").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const response = await fetch(location.href, { method: "post", body: new FormData(form, event.submitter) });
  form.dataset.answers = `${form.dataset.answers ?? ""}${response.status} `;
});
