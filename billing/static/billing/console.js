// Puts what Stripe says into the diagnosis once the page is there: without it, a link does the same.
async function ask() {
  const section = document.getElementById("diagnosis");
  const progress = section.querySelector("[data-progress]");
  progress.textContent = "Asking Stripe …";
  section.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(section.dataset.fragment);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("diagnosis");
    if (!answer.ok || !fresh) throw new Error();
    section.replaceChildren(...fresh.childNodes); // the live region itself stays, and is read out
  } catch {
    progress.textContent = "The back office did not answer. Ask again, or reload the page.";
  }
  section.removeAttribute("aria-busy");
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("#diagnosis [data-retry]")) return;
  event.preventDefault();
  ask();
});

if (document.querySelector("#diagnosis[data-ask]")) ask();
