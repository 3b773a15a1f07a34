// Puts in what waits for Stripe once it has answered: without this, a link does the same.
async function ask(section) {
  const progress = section.querySelector("[data-progress]");
  progress.textContent = "Asking Stripe …";
  section.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(section.dataset.ask);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    section.replaceChildren(...page.getElementById(section.id).childNodes);
  } catch {
    progress.textContent = section.dataset.failed;
  }
  section.removeAttribute("aria-busy");
}

const waiting = document.querySelector("[data-ask][data-failed]");
if (waiting) ask(waiting);
