"use strict";

for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;

// Shown among a run's artefacts, the page has no address that a place in it could be added to.
if (location.protocol === "blob:") {
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.querySelector(link.getAttribute("href")).scrollIntoView();
    });
  }
}

const said = document.querySelector("[role=status]");
for (const button of document.querySelectorAll("button.copy")) {
  const code = button.parentElement.querySelector("code, .code");
  button.addEventListener("click", async () => {
    button.textContent = said.textContent = (await copy(code)) ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
  });
}

// Pages of plain http have no clipboard to write to; there the text is selected first.
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return document.execCommand("copy");
  }
}

const table = document.querySelector("table.images");
if (table) {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const lines = [...table.tBodies[0].rows];
  const columns = names.length - 1;
  const viewer = document.getElementById("viewer");
  const title = viewer.querySelector("h2");
  const compare = viewer.querySelector(".compare");
  const stage = viewer.querySelector(".stage");
  const slider = viewer.querySelector("input");
  const label = viewer.querySelector("label");
  let line = 0;
  let column = 1;
  let opener = null;
  let pressed = null;

  const show = () => {
    const [over, under] = [0, column].map((cell) => lines[line].cells[cell].querySelector("img").cloneNode());
    over.className = "over";
    over.draggable = under.draggable = false;
    stage.replaceChildren(under, over);
    compare.style.setProperty("--ratio", String(under.getAttribute("width") / under.getAttribute("height")));
    title.textContent = `${names[column]}, image ${line + 1}`;
    label.textContent = `Left of the line: source. Right of it: ${column < columns ? "translation" : names[columns]}.`;
  };
  const move = (down, right) => {
    line = (line + down + lines.length) % lines.length;
    column = ((column - 1 + right + columns) % columns) + 1;
    opener = lines[line].cells[column].querySelector("button");
    show();
  };
  const divide = () => {
    compare.style.setProperty("--shown", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value}% source`);
  };
  const drag = (event) => {
    if (event.buttons !== 1) return;
    const box = stage.getBoundingClientRect();
    slider.value = String(Math.round((100 * (event.clientX - box.left)) / box.width));
    divide();
  };

  lines.forEach((cells, ofLine) => {
    for (let ofColumn = 0; ofColumn <= columns; ofColumn += 1) {
      const image = cells.cells[ofColumn].querySelector("img");
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-haspopup", "dialog");
      image.replaceWith(button);
      button.append(image);
      // By itself a browser leaves a tile half below the first column.
      button.addEventListener("focus", () => button.scrollIntoView({ block: "nearest", inline: "nearest" }));
      button.addEventListener("click", () => {
        // The source is beside every image; by itself it opens with the first of them.
        [line, column, opener] = [ofLine, Math.max(ofColumn, 1), button];
        show();
        divide();
        viewer.showModal();
      });
    }
  });
  slider.addEventListener("input", divide);
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", drag);
  for (const button of viewer.querySelectorAll("[data-down]")) {
    const [down, right] = [Number(button.dataset.down), Number(button.dataset.right)];
    button.hidden = (down ? lines.length : columns) < 2;
    button.addEventListener("click", () => move(down, right));
  }
  viewer.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!steps || event.target === slider || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(...steps);
  });
  viewer.querySelector(".close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("pointerdown", (event) => { pressed = event.target; });
  viewer.addEventListener("click", (event) => {
    // A drag that ends on the backdrop is a click on the dialog as well.
    if (event.target === viewer && pressed === viewer) viewer.close();
  });
  viewer.addEventListener("close", () => opener.focus());
}
