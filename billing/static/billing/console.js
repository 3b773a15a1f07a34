// The customer's page: what Stripe says, and the timeline's other parts, are put in once the page
// is there. Without this, links do the same.
async function part(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(answer.statusText);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function ask() {
  const section = document.getElementById("diagnosis");
  const progress = section.querySelector("[data-progress]");
  progress.textContent = "Asking Stripe …";
  section.setAttribute("aria-busy", "true");
  try {
    const fresh = await part(section.dataset.fragment);
    const found = fresh.getElementById("diagnosis");
    section.replaceChildren(...found.childNodes); // the live region itself stays, and is read out
    const timeline = document.getElementById("timeline");
    // With what Stripe sent in vain; not where somebody is reading something else in it by now.
    if (!timeline.dataset.moved) timeline.replaceChildren(...fresh.getElementById("timeline").childNodes);
  } catch {
    progress.textContent = "The back office did not answer. Ask again, or reload the page.";
  }
  section.removeAttribute("aria-busy");
}

async function move(link) {
  const timeline = document.getElementById("timeline");
  timeline.dataset.moved = "yes";
  timeline.setAttribute("aria-busy", "true");
  try {
    const fresh = (await part(timeline.dataset.fragment + link.search)).getElementById("timeline");
    if (link.dataset.timeline === "older") {
      const first = fresh.querySelector("[data-entries] a, [data-entries] li");
      timeline.querySelector("[data-entries]").append(...fresh.querySelectorAll("[data-entries] > li"));
      timeline.querySelector("[data-older]").replaceWith(fresh.querySelector("[data-older]"));
      first.focus();
    } else {
      timeline.replaceChildren(...fresh.childNodes);
      timeline.querySelector("[aria-current]").focus();
    }
    timeline.removeAttribute("aria-busy");
  } catch {
    window.location = link.href; // as without this script
  }
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest("#timeline [data-timeline]");
  if (!link && !event.target.closest("#diagnosis [data-retry]")) return;
  event.preventDefault();
  if (link) move(link);
  else ask();
});

if (document.querySelector("#diagnosis[data-ask]")) ask();
