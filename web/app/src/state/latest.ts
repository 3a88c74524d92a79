/** Latest runs one job at a time and, of those asked meanwhile, the last: answers never come out of order, nor pile up. */
export class Latest {
  #running = false;
  #next: (() => Promise<void>) | undefined;

  run(job: () => Promise<void>): void {
    this.#next = job;
    if (!this.#running) {
      void this.#drain();
    }
  }

  async #drain(): Promise<void> {
    this.#running = true;
    for (let job = this.#next; job; job = this.#next) {
      this.#next = undefined;
      await job();
    }
    this.#running = false;
  }
}
