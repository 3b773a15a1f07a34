// Shows how far a job is while it runs: fetches the page again and puts its new figures in place.
const SECONDS = 3;

async function refresh() {
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("progress");
    if (!fresh) return; // logged out meanwhile
    document.getElementById("progress").replaceWith(fresh);
    if (fresh.dataset.running) later();
  } catch {
    later(); // the network is away: it may come back
  }
}

function later() {
  setTimeout(refresh, SECONDS * 1000);
}

later();
