// A systolic array in which sums stay: m over the rows, n over the columns, a fold is k pairs of operands.
//
// Inputs move right and weights down, row i and column j i + j cycles late. The sums of a fold shift down, the last
// row's first, and are written below the array, one bank per column; sums of a k in several tiles are added there.
// The shift starts for all rows of a column when the last one has finished; row i takes part for i + 1 cycles, so that
// it is free when the next fold's first operands reach it.
//
// RELOAD  0  serial            no shift: a bus per column takes each sum in the cycle of its last product, and the next
//                              fold starts when the last sum has left. So SCALE-Sim counts.
//         1  exposed           the next stream follows the shift
//         2  double buffered   the shift runs under the next stream; elements have two sums. Every fold takes
//                              max(k, ROWS) cycles.
// A pair goes when its operands have passed ports of X_BITS and W_BITS per cycle; 0 is as wide as a line.
// `active` is high from the first operand on a port to the last sum in memory. SCALE-Sim gives the number of the last
// cycle, counted from 0: in `serial` `active` falls one cycle early.
module dfc_output_stationary #(
    parameter integer ROWS = 4,
    parameter integer COLS = 4,
    parameter integer OPERAND_BITS = 8,
    parameter integer ACC_BITS = 32,
    parameter integer RELOAD = 2,
    parameter integer X_BITS = 0, W_BITS = 0,
    parameter integer AW = 24,
    parameter integer SW = 20
) (
    input  wire                         clk,
    input  wire                         rst,
    input  wire                         fold_valid,
    output wire                         fold_take,
    input  wire [AW-1:0]                fold_x,      // lines of ROWS inputs, one per k
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
  localparam integer SERIAL = 0, EXPOSED = 1, DOUBLE = 2;
  localparam integer SKEW = ROWS + COLS - 2;
  localparam integer LEAVE_CYCLES = SKEW + (RELOAD == DOUBLE ? ROWS : 0);
  localparam integer WAIT_CYCLES = RELOAD == SERIAL ? 0 : ROWS - 1;  // from the end of a stream to that of its last row
  localparam integer ROW_END = ROWS - 1, LEAVE_END = LEAVE_CYCLES > 0 ? LEAVE_CYCLES - 1 : 0;
  localparam [SW-1:0] LAST_ROW = ROW_END[SW-1:0], LAST_OUT = LEAVE_END[SW-1:0];
  localparam [1:0] IDLE = 2'd0, STREAM = 2'd1, LEAVE = 2'd2;

  // ---- what happens in a cycle; addresses go out, and operands are there in the next one
  reg [1:0] state;
  reg [SW-1:0] t, pair, after;          // cycle of the state; pair of the stream; cycles since its last one
  reg [AW-1:0] x_base, w_base, y_base;
  reg [SW-1:0] m, n, k;
  reg begins, last, phase;              // phase: which of two sums the stream builds
  wire x_ready, w_ready;
  wire streaming = state == STREAM && pair < k && x_ready && w_ready;
  wire last_pair = streaming && pair == k - 1'b1;
  wire slot_ends = state == STREAM && (RELOAD == EXPOSED ? pair == k && after == LAST_ROW
                                       : (pair == k || last_pair) && (RELOAD != DOUBLE || t >= LAST_ROW));
  wire over = (slot_ends && LEAVE_CYCLES == 0 && (last || RELOAD == SERIAL)) || (state == LEAVE && t == LAST_OUT);
  wire ends = over && last;
  assign fold_take = fold_valid && (state == IDLE || (slot_ends && RELOAD != SERIAL && !last) || (over && !last));
  assign x_addr = x_base + {{(AW-SW){1'b0}}, pair};
  assign {x_read, w_read} = {2{streaming}};
  assign w_addr = w_base + {{(AW-SW){1'b0}}, pair};
  wire [31:0] xs = {{(32-SW){1'b0}}, m} * OPERAND_BITS[31:0], ws = {{(32-SW){1'b0}}, n} * OPERAND_BITS[31:0];
  dfc_pace #(.BITS(X_BITS)) x_pace (.clk(clk), .restart(fold_take), .need(xs), .take(streaming), .ready(x_ready));
  dfc_pace #(.BITS(W_BITS)) w_pace (.clk(clk), .restart(fold_take), .need(ws), .take(streaming), .ready(w_ready));

  always @(posedge clk) begin
    t <= &t ? t : t + 1'b1;
    after <= last_pair ? {SW{1'b0}} : after + 1'b1;
    pair <= fold_take ? {SW{1'b0}} : streaming ? pair + 1'b1 : pair;
    if (slot_ends && (last || RELOAD == SERIAL)) begin
      state <= LEAVE;
      t <= {SW{1'b0}};
    end
    if (ends) state <= IDLE;
    if (fold_take) begin
      x_base <= fold_x;
      w_base <= fold_w;
      y_base <= fold_y;
      m <= fold_m;
      n <= fold_n;
      k <= fold_k;
      begins <= fold_begin;
      last <= fold_last;
      phase <= RELOAD == DOUBLE && !phase;
      state <= STREAM;
      t <= {SW{1'b0}};
    end
    if (rst) begin
      state <= IDLE;
      phase <= 1'b0;
      last <= 1'b0;
    end
  end

  wire counted = state != IDLE && !(RELOAD == SERIAL && ends);
  reg counted_q, ends_q;
  always @(posedge clk) {counted_q, ends_q} <= {counted && !rst, ends && !rst};
  assign active = counted_q;
  wire unused_inputs = &{1'b0, fold_open, fold_close, opcode, amount};
  assign done = ends_q;

  // ---- which row's sums leave: some cycles after the stream's last, what was known of the fold then
  localparam integer IW = AW + 2 * SW + 3;
  wire stream_ends = RELOAD == DOUBLE ? slot_ends : last_pair;
  wire drain_starts, drain_starts_begins, drain_starts_phase;
  wire [AW-1:0] drain_starts_y;
  wire [SW-1:0] drain_starts_m, drain_starts_n;
  // Serial: in the cycle of the stream's last operands; else in the one after the last row's last product.
  dfc_delay #(.CYCLES(RELOAD == SERIAL ? 0 : WAIT_CYCLES + 1), .WIDTH(IW)) wait_for_rows (
      .clk(clk), .in({y_base, m, n, begins, phase, stream_ends && !rst}),
      .out({drain_starts_y, drain_starts_m, drain_starts_n, drain_starts_begins, drain_starts_phase, drain_starts}));
  reg draining;
  reg [SW-1:0] d, drain_m, drain_n;
  reg [AW-1:0] drain_y;
  reg drain_begins, drain_phase;
  always @(posedge clk) begin
    d <= drain_starts ? {{(SW-1){1'b0}}, 1'b1} : d + 1'b1;
    draining <= !rst && (drain_starts ? ROWS > 1 : draining && d != LAST_ROW);
    if (drain_starts) {drain_y, drain_m, drain_n, drain_begins, drain_phase} <=
        {drain_starts_y, drain_starts_m, drain_starts_n, drain_starts_begins, drain_starts_phase};
  end
  wire drain_now = drain_starts || draining;
  wire [SW-1:0] step = drain_starts ? {SW{1'b0}} : d;
  wire [SW-1:0] drain_row = RELOAD == SERIAL ? step : LAST_ROW - step;
  wire [AW-1:0] y_now = drain_starts ? drain_starts_y : drain_y;
  wire [SW-1:0] m_now = drain_starts ? drain_starts_m : drain_m;
  wire [SW-1:0] n_now = drain_starts ? drain_starts_n : drain_n;
  wire begins_now = drain_starts ? drain_starts_begins : drain_begins;
  wire phase_now = drain_starts ? drain_starts_phase : drain_phase;

  // ---- the array, one cycle after the addresses
  reg x_valid, x_first, x_phase, drain_phase_q;
  reg [ROWS-1:0] shift, take;           // rows that take what is above; the row on the bus
  integer r;
  always @(posedge clk) begin
    x_valid <= streaming;
    x_first <= pair == {SW{1'b0}};
    x_phase <= phase;
    drain_phase_q <= phase_now;
    for (r = 0; r < ROWS; r = r + 1) begin
      shift[r] <= RELOAD != SERIAL && drain_now && step < r[SW-1:0];
      take[r] <= RELOAD == SERIAL && drain_now && step == r[SW-1:0];
    end
  end
  wire [ROWS*OPERAND_BITS-1:0] x_late;
  wire [ROWS*3-1:0] control_late;
  wire [COLS*OPERAND_BITS-1:0] w_late;
  dfc_skew #(.LANES(ROWS), .WIDTH(OPERAND_BITS)) x_skew (.clk(clk), .in(x_data), .out(x_late));
  dfc_skew #(.LANES(ROWS), .WIDTH(3)) control_skew (
      .clk(clk), .in({ROWS{x_phase, x_first, x_valid}}), .out(control_late));
  dfc_skew #(.LANES(COLS), .WIDTH(OPERAND_BITS)) w_skew (.clk(clk), .in(w_data), .out(w_late));
  wire [(ROWS+1)*COLS*OPERAND_BITS-1:0] w_down;
  wire [(ROWS+1)*COLS*ACC_BITS-1:0] sum_down, bus_down;
  assign w_down[COLS*OPERAND_BITS-1:0] = w_late;
  assign sum_down[COLS*ACC_BITS-1:0] = {COLS*ACC_BITS{1'b0}};
  assign bus_down[COLS*ACC_BITS-1:0] = {COLS*ACC_BITS{1'b0}};
  genvar i;
  generate
    for (i = 0; i < ROWS; i = i + 1) begin : row
      dfc_output_row #(.COLS(COLS), .OPERAND_BITS(OPERAND_BITS), .ACC_BITS(ACC_BITS),
          .DOUBLE(RELOAD == DOUBLE ? 1 : 0)) row (
          .clk(clk), .x(x_late[i*OPERAND_BITS +: OPERAND_BITS]), .control(control_late[i*3 +: 3]),
          .drain({drain_phase_q, take[i], shift[i]}),
          .w_in(w_down[i*COLS*OPERAND_BITS +: COLS*OPERAND_BITS]),
          .w_out(w_down[(i+1)*COLS*OPERAND_BITS +: COLS*OPERAND_BITS]),
          .sum_in(sum_down[i*COLS*ACC_BITS +: COLS*ACC_BITS]),
          .sum_out(sum_down[(i+1)*COLS*ACC_BITS +: COLS*ACC_BITS]),
          .bus_in(bus_down[i*COLS*ACC_BITS +: COLS*ACC_BITS]),
          .bus_out(bus_down[(i+1)*COLS*ACC_BITS +: COLS*ACC_BITS]));
    end
  endgenerate
  wire unused = &{1'b0, w_down[ROWS*COLS*OPERAND_BITS +: COLS*OPERAND_BITS]};

  dfc_accumulate #(.COLS(COLS), .ACC_BITS(ACC_BITS), .AW(AW), .SW(SW)) columns (
      .clk(clk), .rst(rst), .valid(drain_now && drain_row < m_now), .begins(begins_now), .n(n_now),
      .addr(y_now + {{(AW-SW){1'b0}}, drain_row}),
      .sum(RELOAD == SERIAL ? bus_down[ROWS*COLS*ACC_BITS +: COLS*ACC_BITS]
                            : sum_down[ROWS*COLS*ACC_BITS +: COLS*ACC_BITS]),
      .y_read(y_read), .y_raddr(y_raddr), .y_rdata(y_rdata), .y_write(y_write), .y_waddr(y_waddr), .y_wdata(y_wdata));
endmodule
