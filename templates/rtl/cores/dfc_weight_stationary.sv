// A systolic array in which weights stay: k over the rows, n over the columns, a fold is m rows of the input.
//
// Row i of the array gets its input i cycles late, column j another j. Element (i, j) adds its product to the sum that
// comes from above; below the last row, sums of a k of several folds are read, added to and written in place, one bank
// per column. Weights shift down, the last row's first: element (i, j) takes part from cycle i + j of a load to cycle
// ROWS - 1 + j, so that its register is free for the next ones as soon as the inputs of the last fold have passed.
//
// RELOAD  0  serial            load, stream, and wait until the last sum has left
//         1  exposed           the next load follows the stream
//         2  double buffered   the next load runs under the stream; elements have two weights. Every fold takes
//                              max(ROWS, m) cycles, the last one as well, though nothing is loaded under it.
// A line of a port of X_BITS, W_BITS, R_BITS (sums read) or Y_BITS (written) per cycle goes when it has passed; 0 is as
// wide as a line. Weights wait while they load alone, so not in double buffered.
// `active` is high from the first operand on a port to the last sum in memory. SCALE-Sim, whose cycles are those of
// `serial`, gives the number of the last cycle, counted from 0: there `active` falls one cycle early.
module dfc_weight_stationary #(
    parameter integer ROWS = 4,
    parameter integer COLS = 4,
    parameter integer OPERAND_BITS = 8,
    parameter integer ACC_BITS = 32,
    parameter integer RELOAD = 2,
    parameter integer X_BITS = 0,
    parameter integer W_BITS = 0,
    parameter integer R_BITS = 0,
    parameter integer Y_BITS = 0,
    parameter integer AW = 24,
    parameter integer SW = 20
) (
    input  wire                         clk,
    input  wire                         rst,
    input  wire                         fold_valid,
    output wire                         fold_take,
    input  wire [AW-1:0]                fold_x,      // lines of ROWS inputs, one per m
    input  wire [AW-1:0]                fold_w,      // lines of COLS weights, one per k
    input  wire [AW-1:0]                fold_y,      // lines of COLS sums, one per m
    input  wire [SW-1:0]                fold_m,
    input  wire                         fold_open,
    input  wire                         fold_close,
    input  wire [7:0]                   opcode,
    input  wire [7:0]                   amount,
    input  wire [SW-1:0]                fold_n,
    input  wire [SW-1:0]                fold_k,
    input  wire                         fold_begin,
    input  wire                         fold_last,
    output wire                         active,
    output wire                         done,
    output wire                         x_read,
    output wire [AW-1:0]                x_addr,
    input  wire [ROWS*OPERAND_BITS-1:0] x_data,
    output wire                         w_read,
    output wire [AW-1:0]                w_addr,
    input  wire [COLS*OPERAND_BITS-1:0] w_data,
    output wire [COLS-1:0]              y_read,
    output wire [COLS*AW-1:0]           y_raddr,
    input  wire [COLS*ACC_BITS-1:0]     y_rdata,
    output wire [COLS-1:0]              y_write,
    output wire [COLS*AW-1:0]           y_waddr,
    output wire [COLS*ACC_BITS-1:0]     y_wdata
);
  localparam integer SERIAL = 0, DOUBLE = 2;
  localparam integer SKEW = ROWS + COLS - 2;
  localparam integer ROW_END = ROWS - 1, LEAVE_END = SKEW > 0 ? SKEW - 1 : 0;
  localparam [SW-1:0] LAST_ROW = ROW_END[SW-1:0], LAST_OUT = LEAVE_END[SW-1:0];
  localparam [1:0] IDLE = 2'd0, LOAD = 2'd1, STREAM = 2'd2, LEAVE = 2'd3;

  // ---- what happens in a cycle; addresses go out, and operands are there in the next one
  reg [1:0] state;
  reg [SW-1:0] t, fed;                 // cycle of the state, line of a load; line of the stream
  reg [AW-1:0] x_base, y_base;         // of the fold that streams
  reg [SW-1:0] m, n, k;
  reg begins, last, phase, again;      // phase: which of two weights the stream uses; again: k takes several folds
  wire w_ready, x_ready, y_ready, again_ready;
  wire load_step = state == LOAD && w_ready;
  wire loading = load_step || (state == STREAM && RELOAD == DOUBLE && fold_valid && !last && t <= LAST_ROW);
  wire streaming = state == STREAM && fed < m && x_ready && y_ready && again_ready;
  wire rows_over = fed == m || (streaming && fed == m - 1'b1);
  wire slot_ends = state == STREAM && rows_over && (RELOAD != DOUBLE || t >= LAST_ROW);
  wire leaves = state == LEAVE && t == LAST_OUT;
  wire next_too = state == STREAM && slot_ends && RELOAD == DOUBLE && !last;
  wire [SW-1:0] line = LAST_ROW - t;   // of the weights
  assign fold_take = (load_step && t == LAST_ROW) || next_too;
  assign x_read = streaming;
  assign x_addr = x_base + {{(AW-SW){1'b0}}, fed};
  assign w_read = loading && line < fold_k;
  assign w_addr = fold_w + {{(AW-SW){1'b0}}, line};
  wire over = (slot_ends && (SKEW == 0) && (last || RELOAD == SERIAL)) || leaves;  // the last sum is written
  wire ends = over && last;

  always @(posedge clk) begin
    t <= (state == LOAD && !w_ready) || &t ? t : t + 1'b1;
    fed <= fold_take ? {SW{1'b0}} : streaming ? fed + 1'b1 : fed;
    if (fold_take) begin
      x_base <= fold_x;
      y_base <= fold_y;
      m <= fold_m;
      n <= fold_n;
      k <= fold_k;
      again <= !(fold_open && fold_close);
      begins <= fold_begin;
      last <= fold_last;
      phase <= RELOAD == DOUBLE && !phase;
    end
    if (state == IDLE && fold_valid) begin
      state <= LOAD;
      t <= {SW{1'b0}};
    end
    if (load_step && t == LAST_ROW) begin
      state <= STREAM;
      t <= {SW{1'b0}};
    end
    if (slot_ends) begin
      state <= (last || RELOAD == SERIAL) && SKEW > 0 ? LEAVE : next_too ? STREAM : LOAD;
      t <= {SW{1'b0}};
    end
    if (over) begin
      state <= last ? IDLE : LOAD;
      t <= {SW{1'b0}};
    end
    if (rst) begin
      state <= IDLE;
      phase <= 1'b0;
      last <= 1'b0;
    end
  end

  // ---- what narrow ports allow
  localparam [31:0] B = OPERAND_BITS, A = ACC_BITS;
  wire [31:0] w_need = line < fold_k ? {{(32-SW){1'b0}}, fold_n} * B : 32'd0;
  wire [31:0] y_need = {{(32-SW){1'b0}}, n} * A;
  dfc_pace #(.BITS(W_BITS)) w_pace (
      .clk(clk), .restart(state != LOAD), .need(w_need), .take(load_step), .ready(w_ready));
  dfc_pace #(.BITS(X_BITS)) x_pace (
      .clk(clk), .restart(fold_take), .need({{(32-SW){1'b0}}, k} * B), .take(streaming), .ready(x_ready));
  dfc_pace #(.BITS(Y_BITS)) y_pace (
      .clk(clk), .restart(fold_take), .need(y_need), .take(streaming), .ready(y_ready));
  dfc_pace #(.BITS(R_BITS)) again_pace (
      .clk(clk), .restart(fold_take), .need(again ? y_need : 32'd0), .take(streaming), .ready(again_ready));

  wire counted = state != IDLE && !(RELOAD == SERIAL && ends);
  reg counted_q, ends_q;
  always @(posedge clk) {counted_q, ends_q} <= {counted && !rst, ends && !rst};
  assign active = counted_q;
  wire unused = &{1'b0, opcode, amount};
  assign done = ends_q;

  // ---- the array, one cycle after the addresses
  reg [ROWS-1:0] load;                 // row i from the i-th cycle of a load on
  reg load_phase, x_phase, w_valid;
  integer r;
  always @(posedge clk) begin
    for (r = 0; r < ROWS; r = r + 1) load[r] <= loading && t >= r[SW-1:0];
    load_phase <= RELOAD == DOUBLE && !phase;
    x_phase <= phase;
    w_valid <= w_read;
  end
  wire [ROWS*OPERAND_BITS-1:0] x_late;
  wire [ROWS-1:0] phase_late;
  wire [COLS*OPERAND_BITS-1:0] w_late;
  dfc_skew #(.LANES(ROWS), .WIDTH(OPERAND_BITS)) x_skew (.clk(clk), .in(x_data), .out(x_late));
  dfc_skew #(.LANES(ROWS), .WIDTH(1)) phase_skew (.clk(clk), .in({ROWS{x_phase}}), .out(phase_late));
  dfc_skew #(.LANES(COLS), .WIDTH(OPERAND_BITS)) w_skew (
      .clk(clk), .in(w_valid ? w_data : {COLS*OPERAND_BITS{1'b0}}), .out(w_late));
  wire [(ROWS+1)*COLS*OPERAND_BITS-1:0] w_down;
  wire [(ROWS+1)*COLS*ACC_BITS-1:0] sum_down;
  assign w_down[COLS*OPERAND_BITS-1:0] = w_late;
  assign sum_down[COLS*ACC_BITS-1:0] = {COLS*ACC_BITS{1'b0}};
  genvar i;
  generate
    for (i = 0; i < ROWS; i = i + 1) begin : row
      dfc_weight_row #(.COLS(COLS), .OPERAND_BITS(OPERAND_BITS), .ACC_BITS(ACC_BITS),
          .DOUBLE(RELOAD == DOUBLE ? 1 : 0)) row (
          .clk(clk), .x(x_late[i*OPERAND_BITS +: OPERAND_BITS]), .phase(phase_late[i]),
          .load(load[i]), .load_phase(load_phase),
          .w_in(w_down[i*COLS*OPERAND_BITS +: COLS*OPERAND_BITS]),
          .w_out(w_down[(i+1)*COLS*OPERAND_BITS +: COLS*OPERAND_BITS]),
          .sum_in(sum_down[i*COLS*ACC_BITS +: COLS*ACC_BITS]),
          .sum_out(sum_down[(i+1)*COLS*ACC_BITS +: COLS*ACC_BITS]));
    end
  endgenerate

  wire unused_weights = &{1'b0, w_down[ROWS*COLS*OPERAND_BITS +: COLS*OPERAND_BITS]};

  // ---- sums below the last row: column j reads in the cycle before it writes, j cycles after column 0
  wire [AW+SW+1:0] below;
  dfc_delay #(.CYCLES(ROWS - 1), .WIDTH(AW + SW + 2)) to_below (
      .clk(clk), .in({y_base + {{(AW-SW){1'b0}}, fed}, n, begins, streaming && !rst}), .out(below));
  // A line that waits may go in its fold's last cycle, and the next fold's in the first one.
  localparam integer FORWARD = RELOAD == DOUBLE && (X_BITS != 0 || R_BITS != 0 || Y_BITS != 0) ? 1 : 0;
  dfc_accumulate #(.COLS(COLS), .ACC_BITS(ACC_BITS), .FORWARD(FORWARD), .AW(AW), .SW(SW)) columns (
      .clk(clk), .rst(rst), .valid(below[0]), .begins(below[1]), .n(below[2 +: SW]), .addr(below[SW+2 +: AW]),
      .sum(sum_down[ROWS*COLS*ACC_BITS +: COLS*ACC_BITS]),
      .y_read(y_read), .y_raddr(y_raddr), .y_rdata(y_rdata), .y_write(y_write), .y_waddr(y_waddr), .y_wdata(y_wdata));
endmodule
