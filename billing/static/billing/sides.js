// Puts the comparison in once Stripe has answered: without this, a link does the same.
async function compare(section) {
  const progress = section.querySelector("[data-progress]");
  progress.textContent = "Asking Stripe …";
  section.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(section.dataset.ask);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    section.replaceChildren(...page.getElementById(section.id).childNodes);
  } catch {
    progress.textContent = "The back office did not answer. Ask again, or reload the page.";
  }
  section.removeAttribute("aria-busy");
}

const waiting = document.querySelector("#sides[data-ask]");
if (waiting) compare(waiting);
