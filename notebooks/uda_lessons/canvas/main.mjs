// The page of the live board, as anywidget loads it; see canvas.py in the board for the messages.

import { makeStore } from "./store.mjs";
import { render } from "./view.mjs";

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = makeStore(model);
    },
    render({ model, el }) {
      return render(store, model, el);
    },
  };
};
